import assert from 'node:assert'
import { MiB } from '@qsfs/bytes/units'
import type { BlockId, Store } from '../store/store.ts'
import { encodeCheckpoint } from './checkpoint-format.ts'
import type { Transaction } from './transaction-format.ts'

/** Transactions that may wait for a checkpoint: each has the record `t<seq mod 1024>`. */
export const ringSlots = 1024
/** Name of the record a mount begins with. */
export const checkpointKey = 'c'
const checkpointDueBytes = 32 * MiB

/** Name of the ring's record for the transaction at `seq`. */
export function slotKey(seq: number, slots: number): string {
  return `t${seq % slots}`
}

/** A transaction on its way home. The marks are values of the store's `answered`: reached by `synced`, they are on disk. */
interface Committed {
  readonly transaction: Transaction
  readonly sizeBytes: number
  /** null: the store has not taken it yet. */
  appendedMark: number | null
  /** null: its frees are still to be deleted. */
  freedMark: number | null
}

/** The transactions between the checkpoint and the end of the log: what they changed, which of their blocks may go, and
 *  how their records come home.
 *
 *  The order is the proof (docs/formats/checkpoint.md). Frees are deleted only once their transaction is on disk: else a
 *  power cut keeps the tombstone and loses the transaction. A transaction leaves the ring only once its deletes are on
 *  disk: else nobody sends them again. Homes are written from the transactions that are on disk, never from memory:
 *  else half of a lost transaction survives in them. */
export class LogTail {
  readonly #store: Store
  readonly #session: number
  readonly #slots: number
  readonly #transactions: Committed[] = []
  /** The newest bytes of each record that a transaction of the tail holds. */
  readonly #newest = new Map<string, { readonly seq: number; readonly bytes: Buffer | null }>()
  #firstSeq: number
  #dataNext: BlockId
  #loose = new Set<BlockId>()
  #sizeBytes = 0
  #checkpointMark = 0

  constructor(store: Store, start: { session: number; tail: number; dataNext: BlockId }, slots: number) {
    const { session, tail, dataNext } = start
    this.#store = store
    this.#session = session
    this.#slots = slots
    this.#firstSeq = tail
    this.#dataNext = dataNext
  }

  /** The position of the next transaction. */
  get nextSeq(): number {
    return this.#firstSeq + this.#transactions.length
  }

  get isFull(): boolean {
    return this.#transactions.length >= this.#slots
  }

  get isCheckpointDue(): boolean {
    return this.#transactions.length >= this.#slots / 2 || this.#sizeBytes >= checkpointDueBytes
  }

  /** Blocks wait for a sync before they may be deleted. */
  get hasFreesToDelete(): boolean {
    return this.#transactions.some(({ freedMark }) => freedMark === null)
  }

  /** undefined: no transaction of the tail holds the record, ask its home. */
  read(key: string): Buffer | null | undefined {
    return this.#newest.get(key)?.bytes
  }

  /** The transaction is decided: readers see it. It goes to the record `key`; `appended` is called when it is there. */
  push(transaction: Transaction, sizeBytes: number): { key: string; appended: () => void } {
    assert(transaction.seq === this.nextSeq && !this.isFull)
    const committed: Committed = { transaction, sizeBytes, appendedMark: null, freedMark: null }
    this.#transactions.push(committed)
    this.#sizeBytes += sizeBytes
    for (const [key, bytes] of transaction.records) this.#newest.set(key, { seq: transaction.seq, bytes })
    return {
      key: slotKey(transaction.seq, this.#slots),
      appended: () => {
        committed.appendedMark = this.#store.answered
        if (transaction.frees.length === 0) committed.freedMark = committed.appendedMark
      },
    }
  }

  /** Deletes what the transactions on disk have freed. */
  async deleteFreed(): Promise<void> {
    for (const committed of [...this.#transactions]) {
      if (!this.#isSynced(committed.appendedMark)) return
      if (committed.freedMark !== null) continue
      await this.#store.deleteBlocks(committed.transaction.frees)
      committed.freedMark = this.#store.answered
    }
  }

  /** Brings home all that may: FSYNC, DELs, FSYNC, checkpoint. */
  async makeRoom(): Promise<void> {
    await this.#store.sync()
    await this.deleteFreed()
    await this.#store.sync()
    await this.checkpoint()
  }

  /** Writes the homes of every transaction that is on disk with its deletes, then the record `c` that says so. */
  async checkpoint(): Promise<void> {
    // One checkpoint at a time may be off the disk: a store that repeats what it sent, in order, would otherwise write the
    // homes of the older one over those of the newer.
    if (!this.#isSynced(this.#checkpointMark)) await this.#store.sync()
    const done = this.#finished()
    const last = done.at(-1)?.transaction.seq
    if (last === undefined) return
    try {
      await this.#writeHomes(done)
      const { dataNext, loose } = this.#looseAfter(done)
      const checkpoint = { session: this.#session, tail: last + 1, dataNext, loose: [...loose] }
      await this.#store.setRecord(checkpointKey, encodeCheckpoint(checkpoint))
      this.#dataNext = dataNext
      this.#loose = loose
    } finally {
      this.#checkpointMark = this.#store.answered
    }
    this.#drop(done)
  }

  #isSynced(mark: number | null): boolean {
    return mark !== null && mark <= this.#store.synced
  }

  #finished(): Committed[] {
    const end = this.#transactions.findIndex(t => !this.#isSynced(t.appendedMark) || !this.#isSynced(t.freedMark))
    return this.#transactions.slice(0, end === -1 ? undefined : end)
  }

  async #writeHomes(done: readonly Committed[]): Promise<void> {
    const homes = new Map<string, Buffer | null>()
    for (const { transaction } of done) for (const [key, bytes] of transaction.records) homes.set(key, bytes)
    await writeRecords(this.#store, homes)
  }

  /** `dataNext` behind the highest id named so far, so that only the gaps below it have to be listed. */
  #looseAfter(done: readonly Committed[]): { dataNext: BlockId; loose: Set<BlockId> } {
    const loose = new Set(this.#loose)
    let dataNext = this.#dataNext
    for (const { transaction } of done) for (const id of transaction.adds) dataNext = Math.max(dataNext, id + 1)
    for (let id = this.#dataNext; id < dataNext; id++) loose.add(id)
    for (const { transaction } of done) for (const id of transaction.adds) loose.delete(id)
    return { dataNext, loose }
  }

  #drop(done: readonly Committed[]): void {
    this.#transactions.splice(0, done.length)
    this.#firstSeq += done.length
    for (const { transaction, sizeBytes } of done) {
      this.#sizeBytes -= sizeBytes
      for (const key of transaction.records.keys()) {
        const newest = this.#newest.get(key)
        if (newest !== undefined && newest.seq < this.#firstSeq) this.#newest.delete(key)
      }
    }
  }
}

/** Records under way at once: enough to keep the connection busy, few enough that what waits for an answer is young. */
const recordsInFlight = 512

/** Writes or deletes each record and waits for all answers, whatever they are.
 *  @throws the first failure */
export async function writeRecords(store: Store, records: ReadonlyMap<string, Buffer | null>): Promise<void> {
  const entries = [...records]
  for (let at = 0; at < entries.length; at += recordsInFlight) {
    const writes = entries
      .slice(at, at + recordsInFlight)
      .map(([key, bytes]) => (bytes === null ? store.deleteRecord(key) : store.setRecord(key, bytes)))
    for (const result of await Promise.allSettled(writes)) if (result.status === 'rejected') throw result.reason
  }
}
