import { entryBytes } from '../../segment/format.ts'
import { decodeId } from '../keydir/keydir-sequential.ts'

/** Finds the next sequential id from data files of 0-db, which numbers what it appends to its index: inserts, and updates too.
 *  In user mode it just counts. */
export class ZdbIds {
  readonly #isSequential: boolean
  #nextId = 0
  #highest = -1
  /** Ids that may have been given and of which no entry was found. */
  #missing = 0

  constructor(isSequential: boolean) {
    this.#isSequential = isSequential
  }

  get nextId(): number {
    return this.#nextId
  }

  /** The highest one met; -1 when there was none. */
  get highest(): number {
    return this.#highest
  }

  /** Told by an index, which is exact, or by what was loaded before. */
  begin(nextId: number): void {
    this.#nextId = Math.max(nextId, this.#highest + 1)
  }

  /** Whether 0-db can have given this key by now: a damaged one must not lift the next id out of all bounds. */
  isKey(key: Buffer): boolean {
    if (!this.#isSequential) return true
    const id = decodeId(key)
    return id !== null && id <= this.#nextId + this.#missing
  }

  /** A value was appended. @param wasLive an update, which burns an id of its own */
  put(key: Buffer, wasLive: boolean): void {
    const id = this.#isSequential ? decodeId(key) : null
    if (id === null || wasLive) {
      this.#nextId++
      return
    }
    this.#highest = Math.max(this.#highest, id)
    // An insert has the id that was next: whatever was counted before, it is right.
    this.#nextId = this.#highest + 1
  }

  /** An entry that cannot be told from an insert, an update or a deletion. */
  leftover(): void {
    this.#missing++
  }

  /** Bytes whose entries are unknown: ids that were given there are not given again. */
  skipped(bytes: number): void {
    this.#nextId += Math.ceil(bytes / entryBytes(8, 0))
  }
}
