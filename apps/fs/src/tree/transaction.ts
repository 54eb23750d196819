import assert from 'node:assert'
import type { BlockId } from '../store/store.ts'
import { recordBytes, TransactionLimit } from './transaction-format.ts'

/** A record as the tree holds it: the log asks for its bytes when they are due, not when it changes. */
export interface LogRecord {
  /** Latin1, at most 250 bytes; the keys `c` and `t<number>` belong to the log. */
  readonly key: string
  /** The record's bytes now, at most 64 KiB, freshly made or never changed again; null: the record is deleted. */
  encode(): Buffer | null
}

/** Encoded bytes of a touched record; undefined while they are out of date. */
interface Touched {
  readonly record: LogRecord
  bytes: Buffer | null | undefined
}

/** What the running transaction touches, and how large it may have become. */
export class RunningTransaction {
  readonly adds: BlockId[] = []
  readonly frees: BlockId[] = []
  readonly #touched = new Map<string, Touched>()
  readonly #outOfDate = new Set<Touched>()
  #measuredBytes = 0
  #declaredBytes = 0

  get isEmpty(): boolean {
    return this.#touched.size === 0 && this.adds.length === 0 && this.frees.length === 0
  }

  touch(record: LogRecord): void {
    const touched = this.#touched.get(record.key)
    if (touched === undefined || touched.record !== record) {
      this.#forget(touched)
      const fresh: Touched = { record, bytes: undefined }
      this.#touched.set(record.key, fresh)
      this.#outOfDate.add(fresh)
    } else if (touched.bytes !== undefined) {
      this.#measuredBytes -= recordBytes(record.key, touched.bytes)
      touched.bytes = undefined
      this.#outOfDate.add(touched)
    }
  }

  /** The record's bytes as this transaction would write them now; undefined when it does not touch it. */
  read(key: string): Buffer | null | undefined {
    return this.#touched.get(key)?.record.encode()
  }

  /** Takes room for one operation; false: commit first. */
  declare(): boolean {
    if (this.#boundBytes() + TransactionLimit.operationBytes > TransactionLimit.bytes) {
      // Most operations touch far less than they declare: what is touched so far is measured, each record once.
      this.#measure()
      this.#declaredBytes = 0
      if (this.#boundBytes() + TransactionLimit.operationBytes > TransactionLimit.bytes) return false
    }
    this.#declaredBytes += TransactionLimit.operationBytes
    return true
  }

  /** The bytes of all touched records, now. */
  encodeRecords(): Map<string, Buffer | null> {
    this.#measure()
    const records = new Map<string, Buffer | null>()
    for (const [key, { bytes }] of this.#touched) records.set(key, bytes ?? null)
    return records
  }

  #boundBytes(): number {
    return this.#measuredBytes + this.#declaredBytes + (this.adds.length + this.frees.length) * 8
  }

  #measure(): void {
    for (const touched of this.#outOfDate) {
      const { record } = touched
      const bytes = record.encode()
      assert((bytes?.length ?? 0) <= TransactionLimit.recordBytes, `record ${record.key} is too long`)
      touched.bytes = bytes
      this.#measuredBytes += recordBytes(record.key, bytes)
    }
    this.#outOfDate.clear()
  }

  #forget(touched: Touched | undefined): void {
    if (touched === undefined) return
    if (touched.bytes !== undefined) this.#measuredBytes -= recordBytes(touched.record.key, touched.bytes)
    this.#outOfDate.delete(touched)
  }
}
