import assert from 'node:assert'
import type { BlockId } from '../../store/store.ts'
import type { CachedRecord, RecordCache } from '../../tree/record-cache.ts'
import { NotLoaded } from '../../tree/record-cache.ts'
import { decodeSharedCounts, encodeSharedCounts, idsPerSharedRecord } from './shared-count-format.ts'

/** An entry of a map of numbers. */
const referenceBytes = 40

class SharedRecord implements CachedRecord {
  readonly key: string
  readonly isPinned = false
  readonly index: number
  readonly references: Map<BlockId, number>

  constructor(index: number, bytes: Buffer | null) {
    this.key = recordKey(index)
    this.index = index
    this.references = decodeSharedCounts(index, bytes)
  }
  get memoryBytes(): number {
    return this.references.size * referenceBytes
  }
  encode(): Buffer | null {
    return encodeSharedCounts(this.index, this.references)
  }
}

/** How many windows of files name each shared value. A count changes in the transaction that changes the extents, so that after a crash
 *  both are right or both are as they were. `look` before the first change of an operation. */
export class SharedCounts {
  readonly #cache: RecordCache

  constructor(cache: RecordCache) {
    this.#cache = cache
  }

  /** May throw NotLoaded, once for all of them. */
  look(ids: Iterable<BlockId>): void {
    const wanted = new Map<string, readonly [string, (bytes: Buffer | null) => CachedRecord]>()
    for (const id of ids) {
      const index = sharedRecordOf(id)
      const key = recordKey(index)
      if (!wanted.has(key)) wanted.set(key, [key, bytes => new SharedRecord(index, bytes)])
    }
    const loading = this.#cache.prefetch(wanted.values())
    if (loading !== null) throw new NotLoaded(loading)
  }

  /** A value that one window named alone is counted from now on. */
  begin(id: BlockId): void {
    const record = this.#record(id)
    assert(!record.references.has(id), `value ${id} is counted already`)
    record.references.set(id, 1)
    this.#cache.touch(record)
  }

  /** One more window names each of these. */
  add(ids: readonly BlockId[]): void {
    for (const id of ids) {
      const record = this.#record(id)
      record.references.set(id, countOf(record, id) + 1)
      this.#cache.touch(record)
    }
  }

  /** One window less. @returns those that no window names any more */
  drop(ids: readonly BlockId[]): BlockId[] {
    return ids.filter(id => {
      const record = this.#record(id)
      const left = countOf(record, id) - 1
      if (left > 0) record.references.set(id, left)
      else record.references.delete(id)
      this.#cache.touch(record)
      return left === 0
    })
  }

  #record(id: BlockId): SharedRecord {
    const index = sharedRecordOf(id)
    return this.#cache.get(recordKey(index), bytes => new SharedRecord(index, bytes)) as SharedRecord
  }
}

/** The number of the record that counts `id`. */
export function sharedRecordOf(id: BlockId): number {
  return Math.floor(id / idsPerSharedRecord)
}

function countOf({ references }: SharedRecord, id: BlockId): number {
  const count = references.get(id)
  assert(count !== undefined, `value ${id} is shared and not counted`)
  return count
}

function recordKey(index: number): string {
  return `s${index}`
}
