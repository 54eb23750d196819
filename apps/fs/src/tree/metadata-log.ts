import assert from 'node:assert'
import { setImmediate } from 'node:timers/promises'
import type { Clock } from '@qsfs/concurrency/clock'
import { Semaphore } from '@qsfs/concurrency/semaphore'
import type { Log } from '@qsfs/telemetry/log'
import type { BlockId, CallOptions, Store } from '../store/store.ts'
import { LogTail, ringSlots } from './log-tail.ts'
import { type MountedLog, mountLog } from './mount-replay.ts'
import { callersWentOn, type LogRecord, RoomGrants, RunningTransaction } from './transaction.ts'
import { encodeTransaction } from './transaction-format.ts'

export type { LogRecord }

export interface MetadataLogOptions {
  /** A transaction that is not asked for by an fsync is committed after this long. */
  readonly commitDelayMs: number
  /** 1,024 in every filesystem; a test makes the ring go round sooner. */
  readonly ringSlots?: number
  /** Awaited before a transaction that is asked for by an fsync or by the clock; what it touches still joins it. */
  readonly beforeCommit?: () => Promise<void>
  /** Called in the step in which the transaction `seq` becomes what it will be; the one before it is in the store. */
  readonly onSeal?: (seq: number) => void
}

/** Long enough for the rest of what is being written to come along. */
const soonMs = 10

/** A transaction the store has not taken yet. */
interface Unsent {
  readonly key: string
  readonly bytes: Buffer
  readonly appended: () => void
}

/** The records of the tree with transactions over them (docs/formats/transaction.md, checkpoint.md).
 *
 *  One operation = `await room()`, then one synchronous stretch that changes memory and touches every record it changed:
 *  with no await in between it is atomic, because a transaction is only ever encoded between such stretches. */
export class MetadataLog implements AsyncDisposable {
  /** This mount's number: above every earlier one. Records that only live as long as a mount carry it. */
  readonly session: number
  /** True when no transaction was ever written: the tree has to make its root. */
  readonly isNew: boolean
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Log
  readonly #commitDelayMs: number
  readonly #onSeal: ((seq: number) => void) | undefined
  readonly #beforeCommit: (() => Promise<void>) | undefined
  readonly #tail: LogTail
  readonly #roomTurn = new Semaphore(1)
  readonly #commitTurn = new Semaphore(1)
  readonly #upkeepTurn = new Semaphore(1)
  /** Stored blocks that no transaction names yet. */
  readonly #loose = new Set<BlockId>()
  readonly #grants = new RoomGrants()
  #running = new RunningTransaction(this.#grants)
  /** The next commit begins with it. */
  #unsent: Unsent | null = null
  #sendFailed = false
  #nextFsync: Promise<void> | null = null
  #lastFsync: Promise<unknown> = Promise.resolve()
  #background: Promise<void> | null = null
  #cancelTimer: (() => void) | null = null
  #cancelSoon: (() => void) | null = null
  #disposed = false

  private constructor(store: Store, clock: Clock, log: Log, mounted: MountedLog, options: MetadataLogOptions) {
    this.#store = store
    this.#clock = clock
    this.#log = log
    this.#commitDelayMs = options.commitDelayMs
    this.#onSeal = options.onSeal
    this.#beforeCommit = options.beforeCommit
    this.session = mounted.session
    this.isNew = mounted.isNew
    this.#tail = new LogTail(store, mounted, options.ringSlots ?? ringSlots)
  }

  /** Opens the filesystem of `store`: replays what a crash left, gives back what it lost track of, starts a session.
   *  @throws FuseError EIO when the log cannot be read, or the store holds something else */
  static async open(
    store: Store,
    clock: Clock,
    log: Log,
    options: MetadataLogOptions = { commitDelayMs: 1000 },
  ): Promise<MetadataLog> {
    return new MetadataLog(store, clock, log, await mountLog(store, log, options.ringSlots ?? ringSlots), options)
  }

  /** Of the transaction sealed last, by this mount or an earlier one; -1: there is none. */
  get newestSeq(): number {
    return this.#tail.nextSeq - 1
  }

  /** Of the running transaction. */
  get runningSeq(): number {
    return this.#tail.nextSeq
  }

  /** The store has taken the transaction. */
  isStored(seq: number): boolean {
    return seq < this.#tail.nextSeq - (this.#unsent === null ? 0 : 1)
  }

  /** The record joins the running transaction; touching it again costs nothing. */
  touch(record: LogRecord): void {
    assert(!/^(c$|t\d)/.test(record.key), `the key ${record.key} belongs to the log`)
    this.#running.touch(record)
    this.#wake()
  }

  /** The newest bytes: of the running transaction, of those not yet in their home, of the home. null: no such record. */
  read(key: string, options?: CallOptions): Buffer | null | Promise<Buffer | null> {
    const bytes = this.#readTail(key)
    return bytes === undefined ? this.#readHome(key, options) : bytes
  }

  /** To be awaited right before the synchronous stretch of an operation (which then may touch up to 64 KiB of records).
   *  Returns undefined when there is room. Rejects with what made a commit fail: ENOSPC, EIO, EROFS. */
  room(): undefined | Promise<void> {
    return this.#mayTake && this.#running.declare() ? undefined : this.#waitForRoom()
  }

  /** The same for an operation that begins in this very step; false: it has to await `room()`. */
  hasRoomAtOnce(): boolean {
    return this.#mayTake && this.#running.declareAtOnce()
  }

  /** Stores a block that no transaction names yet. It belongs to the caller until `addBlocks` or `freeBlocks`. */
  async putBlock(bytes: Buffer, options?: CallOptions): Promise<BlockId> {
    const id = await this.#store.putBlock(bytes, options)
    this.#loose.add(id)
    return id
  }

  /** The running transaction names these blocks. */
  addBlocks(ids: readonly BlockId[]): void {
    for (const id of ids) {
      assert(this.#loose.delete(id), `block ${id} is not loose`)
      this.#running.adds.push(id)
    }
    if (ids.length > 0) this.#wake()
  }

  /** Nothing names these blocks once the running transaction is on disk; then they are deleted. Also for loose blocks. */
  freeBlocks(ids: readonly BlockId[]): void {
    for (const id of ids) {
      // Named and freed at once: the checkpoint then does not list it as loose for ever.
      if (this.#loose.delete(id)) this.#running.adds.push(id)
      this.#running.frees.push(id)
    }
    if (ids.length > 0) this.#wake()
  }

  /** Everything touched so far is in the store (not on its disk). */
  async commit(): Promise<void> {
    await this.#commit(({ key, bytes }) => this.#store.setRecord(key, bytes))
  }

  /** What was touched so far is committed in a moment, and not in `commitDelayMs`. */
  commitSoon(): void {
    if (this.#cancelSoon !== null || this.#disposed) return
    this.#cancelSoon = this.#clock.schedule(soonMs, () => {
      this.#cancelSoon = null
      if (this.#background === null) this.#startBackground()
      else void this.#background.then(() => this.commitSoon())
    })
  }

  /** Everything touched so far is on the store's disk. Callers that arrive while a sync is under way share the next one. */
  fsync(): Promise<void> {
    this.#nextFsync ??= this.#fsyncAfter(this.#lastFsync)
    return this.#nextFsync
  }

  /** Commits, syncs, deletes what is free, checkpoints, stops its timers. Twice does nothing the second time. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    this.#cancelTimer?.()
    this.#cancelSoon?.()
    await this.#background
    await this.fsync()
    await this.#makeRoom()
    await this.#store.sync()
  }

  #readTail(key: string): Buffer | null | undefined {
    const running = this.#running.read(key)
    return running === undefined ? this.#tail.read(key) : running
  }

  async #readHome(key: string, options?: CallOptions): Promise<Buffer | null> {
    const home = await this.#store.getRecord(key, options)
    // The record may have been changed, committed and brought home while its old home was on the way here.
    const bytes = this.#readTail(key)
    return bytes === undefined ? home : bytes
  }

  /** Nobody waits for room already. */
  get #mayTake(): boolean {
    return !this.#sendFailed && this.#roomTurn.available > 0
  }

  async #waitForRoom(): Promise<void> {
    using _turn = await this.#roomTurn.acquire()
    for (;;) {
      await callersWentOn()
      if (!this.#sendFailed && this.#running.declare()) return
      await this.commit()
    }
  }

  async #commit(set: (unsent: Unsent) => Promise<void>): Promise<void> {
    using _turn = await this.#commitTurn.acquire()
    if (this.#unsent !== null) await this.#send(this.#unsent, set)
    if (this.#running.isEmpty) return
    if (this.#tail.isFull) await this.#makeRoom()
    // Whoever changed something notes it a few microtasks later: it must be noted as what this transaction takes along.
    if (this.#onSeal !== undefined) await setImmediate()
    // From here to the send nothing waits: what is touched from now on belongs to the next transaction.
    const { adds, frees } = this.#running
    const records = this.#running.encodeRecords()
    const transaction = { session: this.session, seq: this.#tail.nextSeq, records, adds, frees }
    const bytes = encodeTransaction(transaction)
    this.#running = new RunningTransaction(this.#grants)
    this.#unsent = { bytes, ...this.#tail.push(transaction, bytes.length) }
    this.#onSeal?.(transaction.seq)
    await this.#send(this.#unsent, set)
    if (this.#tail.isCheckpointDue) this.#startBackground()
  }

  async #send(unsent: Unsent, set: (unsent: Unsent) => Promise<void>): Promise<void> {
    try {
      await set(unsent)
    } catch (error) {
      this.#sendFailed = true
      throw error
    }
    unsent.appended()
    this.#unsent = null
    this.#sendFailed = false
  }

  async #fsyncAfter(previous: Promise<unknown>): Promise<void> {
    // Whether the round before failed concerns its own callers.
    await previous
    const round = this.#commitAndSync()
    this.#nextFsync = null
    this.#lastFsync = round.then(
      () => undefined,
      () => undefined,
    )
    return round
  }

  async #commitAndSync(): Promise<void> {
    await this.#beforeCommit?.()
    // The last transaction and its sync leave together.
    let synced: Promise<void> | null = null
    await this.#commit(({ key, bytes }) => {
      const sent = this.#store.setRecordAndSync(key, bytes)
      synced = sent.synced
      return sent.set
    })
    await (synced ?? this.#store.sync())
  }

  async #makeRoom(): Promise<void> {
    using _turn = await this.#upkeepTurn.acquire()
    await this.#tail.makeRoom()
  }

  /** Sees to it that what was touched is committed within `commitDelayMs`, and what was freed is deleted some time later. */
  #wake(): void {
    if (this.#cancelTimer !== null || this.#disposed) return
    this.#cancelTimer = this.#clock.schedule(this.#commitDelayMs, () => this.#startBackground())
  }

  #startBackground(): void {
    if (this.#background !== null || this.#disposed) return
    this.#cancelTimer?.()
    this.#cancelTimer = null
    this.#background = this.#runBackground().finally(() => {
      this.#background = null
      if (!this.#running.isEmpty || this.#unsent !== null || this.#tail.hasFreesToDelete) this.#wake()
    })
  }

  /** A failure is logged and tried again; who needs the result meets it in `room`, `commit` and `fsync`. */
  async #runBackground(): Promise<void> {
    try {
      await this.#beforeCommit?.()
      await this.commit()
      using _turn = await this.#upkeepTurn.acquire()
      if (this.#tail.isCheckpointDue) await this.#tail.makeRoom()
      else await this.#tail.deleteFreed()
    } catch (error) {
      this.#log.warn('metadata.upkeep_failed', { error })
    }
  }
}
