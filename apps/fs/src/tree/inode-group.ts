import type { NodeId } from '@qsfs/fuse/filesystem'
import type { Inode } from './inode.ts'
import { checkInodes, decodeInodeIn, encodeInodes, inodeIn, inodesPerRecord } from './inode-format.ts'
import type { CachedRecord } from './record-cache.ts'

/** What a decoded inode takes: itself, four times, its lists (measured). */
const decodedBytes = 800

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
  /** A bit per slot whose inode is not as `#bytes` has it. */
  #changed = 0

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
    this.#keep(slot, inode)
    return inode
  }

  /** For one look at an inode that nobody keeps or changes. */
  peek(nodeId: NodeId): Inode | null {
    const known = this.known(nodeId)
    if (known !== undefined) return known
    return this.#bytes === null ? null : decodeInodeIn(this.#firstNodeId, this.#bytes, nodeId % inodesPerRecord)
  }

  /** null: it is gone. */
  set(nodeId: NodeId, inode: Inode | null): void {
    this.#keep(nodeId % inodesPerRecord, inode)
    this.changed(nodeId)
  }

  /** The inode is not what it was. */
  changed(nodeId: NodeId): void {
    this.#changed |= 1 << (nodeId % inodesPerRecord)
  }

  /** What was decoded and is stored can be decoded again. */
  shrink(): boolean {
    if (this.#decoded === null || this.#changed !== 0) return false
    this.#decoded = null
    this.#decodedCount = 0
    return true
  }

  encode(): Buffer | null {
    if (this.#changed === 0) return this.#bytes
    const [bytes, decoded] = [this.#bytes, this.#decoded]
    const inodes = Array.from({ length: inodesPerRecord }, (_, slot) => {
      if ((this.#changed & (1 << slot)) !== 0) return decoded?.[slot] ?? null
      return bytes === null ? null : inodeIn(bytes, slot)
    })
    this.#bytes = encodeInodes(this.#firstNodeId, inodes)
    this.#changed = 0
    return this.#bytes
  }

  #keep(slot: number, inode: Inode | null): void {
    this.#decoded ??= new Array(inodesPerRecord).fill(undefined)
    this.#decodedCount += Number(inode !== null) - Number(this.#decoded[slot] != null)
    this.#decoded[slot] = inode
  }
}

export function groupKey(firstNodeId: number): string {
  return `i${firstNodeId / inodesPerRecord}`
}
