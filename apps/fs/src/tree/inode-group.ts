import type { NodeId } from '@qsfs/fuse/filesystem'
import type { Inode } from './inode.ts'
import { checkInodes, decodeInodeIn, encodeInodes, inodeIn, inodesPerRecord } from './inode-format.ts'
import type { CachedRecord } from './record-cache.ts'

/** What a decoded inode takes: itself, four times, its lists. */
const decodedBytes = 600

/** 16 inodes: what is read, written and let go together. Those that nobody has looked at stay bytes: decoded they are four times as large,
 *  and a walk in the order of names looks at one of each record. */
export class InodeGroup implements CachedRecord {
  readonly key: string
  readonly #firstNodeId: number
  /** As read, or last encoded. */
  #bytes: Buffer | null
  /** By slot; undefined: as `#bytes` has it. null: so are all. */
  #decoded: (Inode | null | undefined)[] | null = null
  #decodedCount = 0

  constructor(firstNodeId: number, bytes: Buffer | null) {
    this.key = groupKey(firstNodeId)
    this.#firstNodeId = firstNodeId
    this.#bytes = bytes
    if (bytes !== null) checkInodes(firstNodeId, bytes)
  }

  get isPinned(): boolean {
    return this.#decoded?.some(inode => inode != null && inode.pins > 0) ?? false
  }

  get memoryBytes(): number {
    return (this.#bytes?.length ?? 0) + this.#decodedCount * decodedBytes
  }

  /** null: there is none; undefined: it has to be decoded. */
  known(nodeId: NodeId): Inode | null | undefined {
    return this.#decoded?.[nodeId % inodesPerRecord]
  }

  decode(nodeId: NodeId): Inode | null {
    const slot = nodeId % inodesPerRecord
    const inode = this.#bytes === null ? null : decodeInodeIn(this.#firstNodeId, this.#bytes, slot)
    this.set(nodeId, inode)
    return inode
  }

  /** null: it is gone. */
  set(nodeId: NodeId, inode: Inode | null): void {
    const slot = nodeId % inodesPerRecord
    this.#decoded ??= new Array(inodesPerRecord).fill(undefined)
    this.#decodedCount += Number(inode !== null) - Number(this.#decoded[slot] != null)
    this.#decoded[slot] = inode
  }

  encode(): Buffer | null {
    const bytes = this.#bytes
    if (this.#decoded === null) return bytes
    const inodes = this.#decoded.map((inode, slot) =>
      inode !== undefined ? inode : bytes === null ? null : inodeIn(bytes, slot),
    )
    this.#bytes = encodeInodes(this.#firstNodeId, inodes)
    return this.#bytes
  }
}

export function groupKey(firstNodeId: number): string {
  return `i${firstNodeId / inodesPerRecord}`
}
