import assert from 'node:assert'
import { type Clock, delay, type RandomSource } from '@qsfs/concurrency/clock'
import { Semaphore } from '@qsfs/concurrency/semaphore'
import { FuseError } from '@qsfs/fuse/errno'
import { ErrorText, WireLimit } from '@qsfs/protocol/cachedb-commands'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { ConnectionLost, type Reply } from '@qsfs/resp/client'
import type { Log } from '@qsfs/telemetry/log'
import { BackgroundSync } from './background-sync.ts'
import { blockIdOf, blockKey } from './block-key.ts'
import type { CachedbSession, Connect, NamespaceNames } from './cachedb-session.ts'
import { type CachedbStoreOptions, cachedbStoreDefaults } from './cachedb-store-options.ts'
import { before } from './deadline.ts'
import { deleteKey, type KnownState, recover, type UnansweredPut } from './recovery/cachedb-recovery.ts'
import { type AnsweredCommand, UnsyncedJournal } from './recovery/unsynced-journal.ts'
import { asReadFailure, coldSegmentOf, hasText, ReadAgain, toFuseError } from './resp-errors.ts'
import { ownerLost, SessionKeeper } from './session-keeper.ts'
import { type BlockId, type CallOptions, type Store, setThenSync } from './store.ts'

interface PutInFlight extends UnansweredPut {
  /** After a lost reply, settled before the next session is used: the id it got, or null when it was not executed. */
  readonly verdict: PromiseWithResolvers<BlockId | null>
}

/** Weight in the in-flight window of a command without a value. */
const smallCommandBytes = 128
/** Deletes in flight at once. */
const deletesInFlight = 256
const fullPauseMs = 200
const warmPauseMs = 100

/** The store over a cachedb that knows OWNER and FSYNC: one owner, replies may get lost (see cachedb-recovery.ts). */
export class CachedbStore implements Store {
  readonly #clock: Clock
  readonly #log: Log
  readonly #names: NamespaceNames
  readonly #options: CachedbStoreOptions
  readonly #keeper: SessionKeeper
  readonly #window: Semaphore
  readonly #background: BackgroundSync
  readonly #journal = new UnsyncedJournal()
  /** In the order of sending; those whose reply was lost stay until a recovery decides. */
  readonly #puts = new Set<PutInFlight>()
  /** What the guard record may hold: its value at the last sync, and the one sent since. */
  #guardValues: (Buffer | null)[] = []
  #instance = ''
  #incarnations = { data: '', meta: '' }
  #nextBlockId: BlockId = 0
  /** What an earlier process left may be page cache alone: no sync of ours has covered it. */
  #inheritedUnsynced = 1
  #nextSync: Promise<void> | null = null
  #lastSync: Promise<unknown> = Promise.resolve()
  #disposed = false

  private constructor(
    connect: Connect,
    names: NamespaceNames,
    clock: Clock,
    random: RandomSource,
    log: Log,
    options: CachedbStoreOptions,
  ) {
    this.#clock = clock
    this.#log = log
    this.#names = names
    this.#options = options
    this.#window = new Semaphore(options.inFlightBytesMax)
    this.#background = new BackgroundSync(clock, options.syncDelayMs, () => this.#syncInBackground())
    this.#keeper = new SessionKeeper(connect, names, clock, random, log, session => this.#bringUpToDate(session))
  }

  /** Takes the namespaces over: whoever owned them before gets errors from now on.
   *  @throws ConnectionLost when there is no server, RespError when it refuses */
  static async open(
    connect: Connect,
    names: NamespaceNames,
    clock: Clock,
    random: RandomSource,
    log: Log,
    options: Partial<CachedbStoreOptions> = {},
  ): Promise<CachedbStore> {
    const store = new CachedbStore(connect, names, clock, random, log, {
      ...cachedbStoreDefaults,
      blockMemory: new BulkPool(),
      ...options,
    })
    store.#takeAsFound(await store.#keeper.openFirst())
    return store
  }

  get nextBlockId(): BlockId {
    return this.#nextBlockId
  }

  get answered(): number {
    return this.#journal.answered
  }

  get synced(): number {
    return this.#journal.synced - this.#inheritedUnsynced
  }

  get unsyncedBytes(): number {
    return this.#journal.sizeBytes
  }

  async putBlock(bytes: Buffer, { signal }: CallOptions = {}): Promise<BlockId> {
    assert(bytes.length > 0 && bytes.length <= WireLimit.bulkBytesMax)
    // What no sync has covered stays in memory; when syncs are slow, so are writers.
    while (this.#journal.sizeBytes > 1.5 * this.#options.syncBytes) await this.sync()
    using _room = await this.#window.acquire(bytes.length, { signal })
    return this.#write('a block cannot be stored', signal, async (session, deadlineMs) => {
      const put: PutInFlight = { bytes, verdict: Promise.withResolvers() }
      this.#puts.add(put)
      try {
        const id = blockIdOf(await session.blocks.call('SET', '', bytes))
        this.#puts.delete(put)
        this.#putAnswered(id, bytes)
        return id
      } catch (error) {
        if (!(error instanceof ConnectionLost)) this.#puts.delete(put)
        else {
          this.#keeper.replace(session)
          await this.#keeper.readyBefore(deadlineMs, signal).catch(late => {
            // The caller may change its bytes from now on; the recovery that decides this put must still know them.
            put.bytes = Buffer.copyBytesFrom(put.bytes)
            throw late
          })
          const id = await put.verdict.promise
          if (id !== null) return id
        }
        throw error
      }
    })
  }

  async getBlock(id: BlockId, offsetBytes: number, lengthBytes: number, options: CallOptions = {}): Promise<Buffer> {
    const reply = await this.#read(
      `block ${id} cannot be read`,
      this.#names.data,
      session => session.blockReads.call('GETRANGE', blockKey(id), String(offsetBytes), String(lengthBytes)),
      options,
    )
    if (!Buffer.isBuffer(reply)) throw new FuseError('EIO', `there is no block ${id}`)
    if (reply.length !== lengthBytes) {
      throw new FuseError('EIO', `block ${id} has ${reply.length} of ${lengthBytes} bytes at ${offsetBytes}`)
    }
    // A small reply may be a view that keeps a whole receive buffer alive.
    return reply.length * 2 < reply.buffer.byteLength ? Buffer.from(Uint8Array.from(reply).buffer) : reply
  }

  giveBack(bytes: Buffer): void {
    this.#options.blockMemory.give(bytes)
  }

  async deleteBlocks(ids: readonly BlockId[]): Promise<void> {
    for (let at = 0; at < ids.length; at += deletesInFlight) {
      const deletes = ids.slice(at, at + deletesInFlight).map(id => this.#deleteBlock(id))
      for (const result of await Promise.allSettled(deletes)) if (result.status === 'rejected') throw result.reason
    }
  }

  async setRecord(key: string, value: Buffer): Promise<void> {
    if (key === this.#options.guardKey) this.#guardValues = [...this.#guardValues.slice(-1), value]
    await this.#writeKey(`record ${key} cannot be stored`, value.length, { kind: 'set', key, value }, session =>
      // nil: the same bytes are there already.
      session.records.call('SET', key, value),
    )
  }

  async getRecord(key: string, options: CallOptions = {}): Promise<Buffer | null> {
    const call = (session: CachedbSession) => session.recordReads.call('GET', key)
    const reply = await this.#read(`record ${key} cannot be read`, this.#names.meta, call, options)
    const value = Buffer.isBuffer(reply) ? Buffer.from(Uint8Array.from(reply).buffer) : null
    if (Buffer.isBuffer(reply)) this.giveBack(reply)
    if (key === this.#options.guardKey && this.#guardValues.length === 0) this.#guardValues = [value]
    return value
  }

  async deleteRecord(key: string): Promise<void> {
    await this.#writeKey(`record ${key} cannot be deleted`, smallCommandBytes, { kind: 'unset', key }, session =>
      deleteKey(session.records, key),
    )
  }

  sync(): Promise<void> {
    if (this.synced === this.answered) return Promise.resolve()
    // A sync under way does not count for what was answered since it began.
    this.#nextSync ??= this.#syncAfter(this.#lastSync)
    return this.#nextSync
  }

  /** The sync leaves right behind the record, on the same connection. It covers that and all that was answered before; what is
   *  answered in between comes from other connections, so with other commands under way nothing would be gained. */
  setRecordAndSync(key: string, value: Buffer) {
    assert(key !== this.#options.guardKey)
    if (this.#window.available < this.#window.limit) return setThenSync(this, key, value)
    let sync = Promise.resolve()
    let answeredBefore = 0
    const noun = `record ${key} cannot be stored`
    const taken = this.#writeKey(noun, value.length, { kind: 'set', key, value }, session => {
      answeredBefore = this.answered
      const set = session.records.call('SET', key, value)
      sync = session.sync(session.records)
      // Asked for again below, on the next session if this one is gone.
      sync.catch(() => {})
      return set
    })
    const synced = taken.then(async position => {
      const covered = answeredBefore + 1 === position ? position : answeredBefore
      const isDone = await sync.then(() => true).catch(() => false)
      if (isDone) this.#covered(covered)
      if (this.synced < position) await this.sync()
    })
    synced.catch(() => {})
    return { set: taken.then(() => undefined), synced }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    this.#background[Symbol.dispose]()
    await this.#keeper[Symbol.asyncDispose]()
  }

  #deleteBlock(id: BlockId): Promise<number> {
    const send = (session: CachedbSession) => deleteKey(session.blocks, blockKey(id))
    return this.#writeKey(`block ${id} cannot be deleted`, smallCommandBytes, { kind: 'delete', id }, send)
  }

  /** @returns the value of `answered` that counts it */
  async #writeKey(
    noun: string,
    sizeBytes: number,
    command: AnsweredCommand,
    send: (session: CachedbSession) => Promise<unknown>,
  ): Promise<number> {
    using _room = await this.#window.acquire(Math.max(sizeBytes, smallCommandBytes))
    await this.#write(noun, undefined, send)
    this.#answeredNow(command)
    return this.answered
  }

  /** Sends until it is answered: after a lost connection on the next session, and again while the server makes room. */
  async #write<T>(
    noun: string,
    signal: AbortSignal | undefined,
    send: (session: CachedbSession, deadlineMs: number) => Promise<T>,
  ): Promise<T> {
    const deadlineMs = this.#clock.monotonicMs() + this.#options.writeWaitMs
    for (;;) {
      try {
        return await this.#onSession(deadlineMs, signal, session => send(session, deadlineMs))
      } catch (error) {
        const isLate = this.#clock.monotonicMs() >= deadlineMs
        if (error instanceof ConnectionLost && !isLate) continue
        if (isLate || !hasText(error, ErrorText.fullWait)) throw this.#failure(error, noun)
        await delay(this.#clock, fullPauseMs, { signal })
      }
    }
  }

  async #read(
    noun: string,
    namespace: string,
    send: (session: CachedbSession) => Promise<Reply>,
    { signal }: CallOptions,
  ): Promise<Reply> {
    const deadlineMs = this.#clock.monotonicMs() + this.#options.readWaitMs
    for (;;) {
      try {
        return await this.#onSession(deadlineMs, signal, async session => {
          const reply = before(this.#clock, deadlineMs, send(session), signal)
          return reply.catch(error => this.#warmFor(error, session, namespace, deadlineMs, signal))
        })
      } catch (error) {
        if (signal?.aborted) throw signal.reason
        if (
          !(error instanceof ConnectionLost || error instanceof ReadAgain) ||
          this.#clock.monotonicMs() >= deadlineMs
        ) {
          throw asReadFailure(this.#failure(error, noun))
        }
      }
    }
  }

  /** @throws ReadAgain when the segment the read failed for is back; else the failure */
  async #warmFor(
    error: unknown,
    session: CachedbSession,
    namespace: string,
    deadlineMs: number,
    signal: AbortSignal | undefined,
  ): Promise<never> {
    const segment = coldSegmentOf(error)
    if (segment === null) throw error
    try {
      await before(this.#clock, deadlineMs, session.warm(namespace, segment), signal)
    } catch (warmError) {
      // Only the connection of this restore is gone; the session's own tell by themselves.
      if (!(warmError instanceof ConnectionLost)) throw warmError
      await delay(this.#clock, warmPauseMs, { signal })
    }
    throw new ReadAgain('the segment is warm')
  }

  /** @throws ConnectionLost when the session was lost: ask for the next */
  async #onSession<T>(
    deadlineMs: number,
    signal: AbortSignal | undefined,
    use: (session: CachedbSession) => Promise<T>,
  ): Promise<T> {
    let session = this.#keeper.current
    for (; session === null; session = this.#keeper.current) await this.#keeper.readyBefore(deadlineMs, signal)
    try {
      return await use(session)
    } catch (error) {
      if (error instanceof ConnectionLost) this.#keeper.replace(session)
      throw error
    }
  }

  #failure(error: unknown, noun: string): FuseError {
    if (hasText(error, ErrorText.ownerLost)) this.#keeper.end(ownerLost(error))
    return toFuseError(error, noun)
  }

  #putAnswered(id: BlockId, bytes: Buffer): void {
    this.#nextBlockId = Math.max(this.#nextBlockId, id + 1)
    this.#answeredNow({ kind: 'put', id, bytes })
  }

  #answeredNow(command: AnsweredCommand): void {
    this.#journal.add(command)
    if (this.#journal.sizeBytes >= this.#options.syncBytes) void this.#background.now()
    else this.#background.later()
  }

  /** @returns whether another one is to follow */
  async #syncInBackground(): Promise<boolean> {
    try {
      await this.sync()
    } catch (error) {
      // Whoever needs it durable asks by himself and sees the failure.
      this.#log.warn('store.sync_failed', { error })
      if (error instanceof FuseError && error.code === 'EROFS') return false
    }
    return this.synced < this.answered
  }

  async #syncAfter(previous: Promise<unknown>): Promise<void> {
    await previous
    this.#nextSync = null
    const round = this.#syncNow()
    this.#lastSync = Promise.allSettled([round])
    return round
  }

  async #syncNow(): Promise<void> {
    await this.#write('the server cannot sync', undefined, async session => {
      const { answered } = this
      await session.sync(session.control)
      this.#covered(answered)
    })
  }

  #covered(covered: number): void {
    this.#inheritedUnsynced = 0
    this.#journal.dropUpTo(covered)
  }

  #takeAsFound(session: CachedbSession): void {
    const { data, meta } = session.positions
    this.#instance = data.instance
    this.#incarnations = { data: data.incarnation, meta: meta.incarnation }
    this.#nextBlockId = data.nextId
  }

  async #bringUpToDate(session: CachedbSession): Promise<void> {
    // Nothing was built yet on what the process before us left: the part of it that was page cache alone may go.
    if (this.#inheritedUnsynced > 0 && this.answered === 0 && this.#puts.size === 0) return this.#takeAsFound(session)
    const known: KnownState = {
      instance: this.#instance,
      incarnations: this.#incarnations,
      nextBlockId: this.#nextBlockId,
      unsynced: this.#journal.commands,
      guard: { key: this.#options.guardKey, values: this.#guardValues },
    }
    const unanswered = [...this.#puts]
    await recover(session, known, unanswered, this.#clock, this.#options.writeWaitMs / 4, (put, id) => {
      this.#puts.delete(put as PutInFlight)
      this.#putAnswered(id, put.bytes)
      ;(put as PutInFlight).verdict.resolve(id)
    })
    this.#instance = session.positions.data.instance
    for (const put of this.#puts) put.verdict.resolve(null)
    this.#puts.clear()
  }
}
