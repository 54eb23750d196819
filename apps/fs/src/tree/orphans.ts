import type { NodeId } from '@qsfs/fuse/filesystem'
import type { InodeTable } from './inode-table.ts'
import { decodeOrphans, encodeOrphans, type Orphan, type OrphanReason, orphansPerRecord } from './orphan-format.ts'
import type { CachedRecord, RecordCache } from './record-cache.ts'

/** An object of three numbers, and its place in a map. */
const orphanMemoryBytes = 100

class OrphanRecord implements CachedRecord {
  readonly key: string
  readonly isPinned = true
  readonly recordIndex: number
  readonly orphans = new Map<NodeId, Orphan>()

  constructor(recordIndex: number, bytes: Buffer | null) {
    this.key = `o${recordIndex}`
    this.recordIndex = recordIndex
    for (const orphan of decodeOrphans(recordIndex, bytes)) this.orphans.set(orphan.nodeId, orphan)
  }
  get memoryBytes(): number {
    return this.orphans.size * orphanMemoryBytes
  }
  encode(): Buffer | null {
    return encodeOrphans(this.recordIndex, this.orphans.values())
  }
}

/** Inodes with work left that a crash must not forget: those without a name, those with extents beyond their size.
 *  All in memory after `load`; one small record is touched per change. */
export class Orphans {
  readonly #cache: RecordCache
  readonly #inodes: InodeTable
  readonly #session: number
  readonly #records: OrphanRecord[] = []
  readonly #places = new Map<NodeId, OrphanRecord>()

  constructor(cache: RecordCache, inodes: InodeTable, session: number) {
    this.#cache = cache
    this.#inodes = inodes
    this.#session = session
  }

  /** Looks at all records; to be attempted before anything else. What earlier mounts left is answered. */
  load(): readonly Orphan[] {
    for (let index = this.#records.length; index < this.#inodes.numbers.orphanRecordCount; index++) {
      const record = this.#cache.get(`o${index}`, bytes => new OrphanRecord(index, bytes)) as OrphanRecord
      this.#records.push(record)
      for (const nodeId of record.orphans.keys()) this.#places.set(nodeId, record)
    }
    return this.#records.flatMap(record => [...record.orphans.values()])
  }

  get count(): number {
    return this.#places.size
  }

  has(nodeId: NodeId): boolean {
    return this.#places.has(nodeId)
  }

  /** Joins the list, or changes its reason there. */
  add(nodeId: NodeId, reason: OrphanReason): void {
    const record =
      this.#places.get(nodeId) ?? this.#records.find(({ orphans }) => orphans.size < orphansPerRecord) ?? this.#grow()
    record.orphans.set(nodeId, { nodeId, reason, session: this.#session })
    this.#places.set(nodeId, record)
    this.#cache.touch(record)
  }

  remove(nodeId: NodeId): void {
    const record = this.#places.get(nodeId)
    if (record === undefined) return
    this.#places.delete(nodeId)
    record.orphans.delete(nodeId)
    this.#cache.touch(record)
  }

  #grow(): OrphanRecord {
    const record = new OrphanRecord(this.#records.length, null)
    this.#records.push(record)
    this.#inodes.numbers.orphanRecordCount = this.#records.length
    this.#inodes.touchNumbers()
    return record
  }
}
