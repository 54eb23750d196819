import { Backoff } from '@qsfs/concurrency/backoff'
import { type Clock, delay, type RandomSource } from '@qsfs/concurrency/clock'
import type { KeyRing } from '@qsfs/crypto/keys'
import type { RecoverProgress, RecoverResult } from '@qsfs/protocol/stor-control'
import type { Log } from '@qsfs/telemetry/log'
import { Metrics } from '@qsfs/telemetry/metrics'
import { Fleet } from './backend/fleet.ts'
import type { StorConfig } from './config.ts'
import { StorError } from './errors.ts'
import { openRecords } from './identity/open-records.ts'
import { MetadataUpkeep } from './identity/upkeep.ts'
import { MasterSecret } from './master-secret.ts'
import { MemberBackend } from './metadata/member-backend.ts'
import type { MetaStore } from './metadata/meta-store.ts'
import { StorCounts } from './metrics/counts.ts'
import { ObjectStore } from './object-store.ts'
import { FramePool } from './pipeline/frame-pool.ts'
import { targetFromCopies } from './recover/open-target.ts'
import { recoverRecords } from './recover/recover.ts'
import { Repairer } from './repair/repairer.ts'

export interface RuntimeTools {
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  /** One that was read before; by the config unless given. */
  readonly master?: MasterSecret
  /** A daemon's, which outlive a reload. */
  readonly counts?: StorCounts
  /** Threads that several stores share; whoever made them ends them. The runtime's own unless given. */
  readonly pool?: FramePool
}

/** What there is once the metadata backends said which store this is. */
export interface OpenStore {
  readonly objects: ObjectStore
  readonly meta: MetaStore
  readonly upkeep: MetadataUpkeep
  readonly keys: KeyRing
  readonly repairer: Repairer
}

/** Threads that code frames: two keep up with what backends take, and leave the loop its core. */
const CODERS = 2
/** Objects that wait for repair: 30 MB of memory at most. The rest is found again when there is room. */
const REPAIRS_WAITING_MAX = 100_000
/** Removals that former processes owed are found by a look at all records; again when some could not be read. */
const OWED_LOOKED_FOR_EVERY_MS = 10 * 60 * 1000
/** How long a request waits for the store to be opened before it is told why it is not. */
const OPEN_WITHIN_MS = 10_000

/** Backends, keys and workers of one store: held by the daemon, or by a command that works without one. */
export class Runtime implements AsyncDisposable {
  readonly config: StorConfig
  readonly fleet: Fleet
  readonly members: readonly MemberBackend[]
  readonly #tools: RuntimeTools
  readonly #counts: StorCounts
  readonly #pool: FramePool
  readonly #master: MasterSecret
  readonly #stopping = new AbortController()
  #opening: Promise<OpenStore> | null = null
  #open: OpenStore | null = null
  #isDaemon = false
  #loops: Promise<unknown> = Promise.resolve()
  /** Settled by the first obstacle. */
  readonly #hindered = Promise.withResolvers<StorError>()
  /** Why the store is not open yet. */
  #obstacle: StorError | null = null

  /** Connects nothing yet.
   *  @throws ConfigError */
  constructor(config: StorConfig, tools: RuntimeTools) {
    this.config = config
    this.#tools = tools
    this.#master = tools.master ?? new MasterSecret(config.master, tools.random, tools.log)
    this.#counts = tools.counts ?? new StorCounts(new Metrics())
    this.fleet = new Fleet(config, tools.clock, tools.random, tools.log, this.#counts.backends)
    this.members = this.fleet.meta.map(({ backend }) => new MemberBackend(backend, config.metaPrefix))
    const framesInFlightMax = config.framesInFlight
    const limits = { workerCount: CODERS, framesInFlightMax, decodesInFlightMax: framesInFlightMax }
    this.#pool = tools.pool ?? new FramePool(limits)
  }

  get master(): MasterSecret {
    return this.#master
  }

  /** For a daemon: watches the backends and opens the store, again and again while too few of them answer.
   *  @throws StorError for an obstacle that does not pass by itself */
  async start(): Promise<void> {
    this.#isDaemon = true
    this.fleet.health.start()
    this.#pool.warm()
    this.#opening = this.#openPatiently()
    // Whoever asks hears of a failure; nobody may be asking.
    this.#opening.then(({ repairer }) => this.#stopping.signal.aborted || repairer.start()).catch(() => undefined)
    const first = await Promise.race([this.#opening.then(() => null), this.#hindered.promise])
    if (first !== null && !first.retryable) throw first
    this.#loops = Promise.all([this.#keepMetadataWhole(), this.#keepDebtsSettled()])
  }

  /** For one command: one round of health checks, one attempt. */
  async openOnce(): Promise<OpenStore> {
    await this.fleet.health.checkOnce()
    this.#opening ??= this.#attempt()
    return this.#opening
  }

  /** The open store, waited for a while.
   *  @throws StorError why it cannot be opened */
  async store(signal?: AbortSignal): Promise<OpenStore> {
    if (this.#open !== null) return this.#open
    const { promise: late, resolve } = Promise.withResolvers<null>()
    const cancel = this.#tools.clock.schedule(OPEN_WITHIN_MS, () => resolve(null))
    try {
      const open = await Promise.race([this.#opening ?? this.openOnce(), late])
      signal?.throwIfAborted()
      if (open !== null) return open
    } finally {
      cancel()
    }
    throw this.#obstacle ?? new StorError('unavailable', 'the metadata backends do not answer')
  }

  /** Rebuilds missing records from the shards on the data backends; all of them, and the superblock, where the metadata
   *  backends hold nothing any more.
   *  @throws StorError */
  recover(
    options: { readonly signal?: AbortSignal; readonly onProgress?: (progress: RecoverProgress) => void } = {},
  ): Promise<RecoverResult> {
    const { config, members, fleet } = this
    const tools = { ...this.#tools, master: this.#master }
    return recoverRecords(
      fleet,
      async ({ superblocks }) =>
        this.#open === null
          ? targetFromCopies(config, members, fleet, tools, superblocks)
          : { meta: this.#open.meta, keys: this.#open.keys, commit: async () => undefined },
      this.#tools.clock,
      this.#tools.log,
      options,
    )
  }

  /** It watches, and does what is due beside requests. */
  get isDaemon(): boolean {
    return this.#isDaemon
  }

  /** What is there without waiting. */
  get now(): { readonly open: OpenStore | null; readonly obstacle: string } {
    return { open: this.#open, obstacle: this.#obstacle?.message ?? '' }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new StorError('unavailable', 'stor is stopping'))
    await this.#opening?.catch(() => undefined)
    await this.#open?.repairer[Symbol.asyncDispose]()
    await this.#open?.objects[Symbol.asyncDispose]()
    // There is one writer of records: what they are writing ends before another runtime begins.
    await this.#loops
    await this.fleet[Symbol.asyncDispose]()
    if (this.#tools.pool === undefined) await this.#pool[Symbol.asyncDispose]()
  }

  async #openPatiently(): Promise<OpenStore> {
    const { clock, random, log } = this.#tools
    const backoff = new Backoff({ firstMs: 100, maxMs: 5000, random })
    for (;;) {
      try {
        return await this.#attempt()
      } catch (error) {
        if (!(error instanceof StorError)) throw error
        if (this.#obstacle?.message !== error.message) log.warn('store.not_open', { error })
        this.#obstacle = error
        this.#hindered.resolve(error)
        if (!error.retryable) throw error
        await delay(clock, backoff.next(), { signal: this.#stopping.signal })
      }
    }
  }

  async #attempt(): Promise<OpenStore> {
    const { clock, random, log } = this.#tools
    const { config, fleet } = this
    const master = this.#master
    const { identity, meta } = await openRecords(config, this.members, fleet, { clock, random, log, master })
    const { keys } = identity.superblock
    const upkeep = new MetadataUpkeep(identity, meta, fleet, clock, random, log, {
      pauseMs: 20 * config.healthCheckIntervalMs,
    })
    const isReading = () => this.#open !== null && this.#open.objects.running.retrieves > 0
    const repairer = new Repairer({ meta, fleet, keys, clock, random, log, isReading }, repairLimits(config))
    const tools = { pool: this.#pool, clock, random, log, counts: this.#counts }
    const objects = new ObjectStore({ config, fleet, meta, keys, ...tools, repairs: repairer })
    this.#open = { objects, meta, upkeep, keys, repairer }
    this.#obstacle = null
    return this.#open
  }

  #keepMetadataWhole(): Promise<void> {
    return this.#again('metadata.not_whole', ({ upkeep }, signal) => upkeep.tick(signal))
  }

  /** Removals owed by data backends that were away are sent when they are back; those of former processes too. */
  #keepDebtsSettled(): Promise<void> {
    const { clock } = this.#tools
    let lookAtMs = clock.monotonicMs()
    return this.#again('removals.not_settled', async ({ objects: { deletions } }, signal) => {
      try {
        if (clock.monotonicMs() < lookAtMs) return
        lookAtMs = clock.monotonicMs() + OWED_LOOKED_FOR_EVERY_MS
        await deletions.findOwed({ signal })
        lookAtMs = Number.POSITIVE_INFINITY
      } finally {
        await deletions.settleOwed({ signal })
      }
    })
  }

  /** Does its work on the open store now and then until the runtime ends. What fails is logged, and tried again. */
  async #again(failed: string, work: (open: OpenStore, signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, log } = this.#tools
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        if (this.#open !== null) await work(this.#open, signal)
        await delay(clock, this.config.healthCheckIntervalMs * 3, { signal })
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof StorError)) throw error
        log.warn(failed, { error })
        await delay(clock, this.config.healthCheckIntervalMs, { signal }).catch(() => undefined)
      }
    }
  }
}

function repairLimits(config: StorConfig) {
  return {
    redundancy: config.redundancy,
    bytesPerSecond: config.repairBytesPerSecond,
    cpuShare: config.repairCpu,
    concurrency: config.repairConcurrency,
    queueMax: REPAIRS_WAITING_MAX,
    scrubPeriodMs: config.scrubPeriodMs,
    orphanGraceMs: config.orphanGraceMs,
    answerWithinMs: config.backendTimeoutMs,
    pollMs: config.healthCheckIntervalMs,
  }
}
