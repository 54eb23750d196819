import { Dirent, direntAlignmentBytes, entryOutBytes } from './abi.ts'
import { encodeEntry, type Lifetimes, noEntry } from './answer.ts'
import type { Entry, NodeId } from './filesystem.ts'

/** A directory as READDIR and READDIRPLUS want it: entries one after the other, each padded to 8 bytes, as many as fit. */
export class DirectoryBuffer {
  readonly #buffer: Buffer
  readonly #lifetimes: Lifetimes | null
  #lengthBytes = 0

  /** @param lifetimes given for READDIRPLUS, whose names come with their entries */
  constructor(sizeBytes: number, lifetimes: Lifetimes | null) {
    this.#buffer = Buffer.allocUnsafe(sizeBytes)
    this.#lifetimes = lifetimes
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#lengthBytes)
  }

  /** FillDirectory of filesystem.ts: false when it does not fit. `.` and `..` need no entry. */
  readonly fill = (name: Buffer, ino: NodeId, mode: number, nextCursor: bigint, entry: Entry | null): boolean => {
    const entryBytes = this.#lifetimes === null ? 0 : entryOutBytes
    const unpadded = entryBytes + Dirent.sizeBytes + name.length
    const neededBytes = Math.ceil(unpadded / direntAlignmentBytes) * direntAlignmentBytes
    if (this.#lengthBytes + neededBytes > this.#buffer.length) return false
    const at = this.#lengthBytes
    if (this.#lifetimes !== null) encodeEntry(entry ?? noEntry, this.#lifetimes, this.#buffer, at)
    // The type of a directory entry is the top four bits of a mode's 16: DT_DIR 4 is S_IFDIR >> 12 (dirent.h).
    const dirent = { ino, nextCursor, nameBytes: name.length, type: (mode >>> 12) & 15 }
    Dirent.encode(dirent, this.#buffer, at + entryBytes)
    name.copy(this.#buffer, at + entryBytes + Dirent.sizeBytes)
    this.#buffer.fill(0, at + unpadded, at + neededBytes)
    this.#lengthBytes += neededBytes
    return true
  }
}
