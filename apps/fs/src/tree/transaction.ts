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

/** Room granted to operations that may not have touched their records yet: between `await room()` and the next line of its
 *  caller lie a few microtasks, in which others ask too. */
export class RoomGrants {
  #outstandingBytes = 0
  #freshBytes = 0
  #ageing = false

  get outstandingBytes(): number {
    return this.#outstandingBytes
  }

  take(): void {
    this.#outstandingBytes += TransactionLimit.operationBytes
    this.#freshBytes += TransactionLimit.operationBytes
    if (!this.#ageing) this.#age()
  }

  async #age(): Promise<void> {
    this.#ageing = true
    while (this.#freshBytes > 0) {
      const ageingBytes = this.#freshBytes
      this.#freshBytes = 0
      await callersWentOn()
      this.#outstandingBytes -= ageingBytes
    }
    this.#ageing = false
  }
}

/** Longer than a resolved promise takes through the async functions between `room` and the operation that awaits it. */
const microtasksToCaller = 12

/** Settles when whoever was told before has had time to go on. */
export async function callersWentOn(): Promise<void> {
  for (let i = 0; i < microtasksToCaller; i++) await null
}

/** What the running transaction touches, and how large it may have become. */
export class RunningTransaction {
  readonly adds: BlockId[] = []
  readonly frees: BlockId[] = []
  readonly #touched = new Map<string, Touched>()
  readonly #outOfDate = new Set<Touched>()
  readonly #grants: RoomGrants
  #measuredBytes = 0
  #declaredBytes: number

  constructor(grants: RoomGrants) {
    this.#grants = grants
    // Operations that got their room from the transaction before may touch their records in this one.
    this.#declaredBytes = grants.outstandingBytes
  }

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

  /** Takes room for one operation that begins some microtasks from now; false: there is none, now. */
  declare(): boolean {
    if (!this.declareAtOnce()) return false
    this.#grants.take()
    return true
  }

  /** The same for an operation that begins in this very step: nobody can come in between. */
  declareAtOnce(): boolean {
    if (this.#boundBytes() + TransactionLimit.operationBytes > TransactionLimit.bytes) {
      // Most operations touch far less than they declare: what is touched so far is measured, each record once.
      this.#measure()
      this.#declaredBytes = this.#grants.outstandingBytes
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
