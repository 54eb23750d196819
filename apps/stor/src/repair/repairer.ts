import { type Clock, delay, type RandomSource } from '@qsfs/concurrency/clock'
import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import type { KeyRing } from '@qsfs/crypto/keys'
import type { DeepCheck, RebuildResult, RepairStatus } from '@qsfs/protocol/stor-control'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { objectIdOfKey } from '../metadata/name-record.ts'
import type { ObjectRecord } from '../metadata/object-record.ts'
import type { Candidate, Redundancy } from '../placement.ts'
import { BackendNews } from './backend-news.ts'
import { RepairBudget } from './budget.ts'
import { diagnose } from './diagnosis.ts'
import { inspectObject } from './inspect.ts'
import { ObjectRepair, type RepairOutcome, redundancyOf } from './object-repair.ts'
import { sweepOrphans } from './orphans.ts'
import { planRepair } from './repair-plan.ts'
import { RepairQueue } from './repair-queue.ts'
import { planMoves } from './replacement.ts'
import { Scrubber } from './scrubber.ts'
import { surveyRecords } from './survey.ts'

export interface RepairerContext {
  readonly meta: MetaStore
  readonly fleet: Fleet
  readonly keys: KeyRing
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  /** Whether a retrieve is under way, which goes first. */
  isReading(): boolean
}

export interface RepairerLimits {
  readonly redundancy: Redundancy
  readonly bytesPerSecond: number
  /** Part of a core. */
  readonly cpuShare: number
  /** Objects at once. */
  readonly concurrency: number
  /** Objects that wait at once: some 300 bytes each. */
  readonly queueMax: number
  readonly scrubPeriodMs: number
  readonly orphanGraceMs: number
  readonly answerWithinMs: number
  readonly pollMs: number
}

/** Longest pause after failures; a backend that comes back ends it. */
const BACKOFF_MAX_MS = 10 * 60 * 1000
/** Records are looked through when the daemon starts, when a backend was emptied, given up or came back, and so often. */
const SURVEY_EVERY_MS = 24 * 60 * 60 * 1000
const SCRUB_SAVED_EVERY_MS = 60_000

/** Keeps every object at full width: a queue of objects to rebuild, fed by the survey of all records, by the scrub of all
 *  shards, by readers, and by uploads that missed a backend. Only whoever holds the store's lock has one. */
export class Repairer implements AsyncDisposable {
  readonly #context: RepairerContext
  readonly #limits: RepairerLimits
  readonly #budget: RepairBudget
  readonly #queue: RepairQueue
  readonly #news: BackendNews
  readonly #repair: ObjectRepair
  readonly #scrubber: Scrubber
  readonly #objects = new KeyedMutex<string>()
  readonly #stopping = new AbortController()
  #running: Promise<unknown> = Promise.resolve()
  /** Rebuilds that somebody asked for. */
  readonly #asked = new Set<Promise<void>>()
  /** Objects on fewer than n locations. */
  readonly #thin = new Set<string>()
  #surveyedAtMs: number | null = null
  /** From which object on the last survey found the queue full, and for which news it was made. */
  #cut: { readonly from: string; readonly news: ReadonlySet<string> } | null = null
  readonly #counts = { rebuilt: 0, failed: 0, reported: 0, verified: 0, bad: 0 }
  #orphans = { removedCount: 0, youngCount: 0, unknownCount: 0 }
  /** Mean time of a repair, later ones weighing more. */
  #repairMs = 0

  constructor(context: RepairerContext, limits: RepairerLimits) {
    const { clock, random, fleet, meta, log } = context
    this.#context = context
    this.#limits = limits
    this.#budget = new RepairBudget(clock, () => context.isReading(), limits)
    this.#queue = new RepairQueue(clock, random, {
      itemsMax: limits.queueMax,
      firstMs: Math.max(1000, limits.pollMs),
      maxMs: BACKOFF_MAX_MS,
    })
    this.#news = new BackendNews(fleet)
    const { redundancy, scrubPeriodMs, pollMs } = limits
    const view = this.#news
    this.#repair = new ObjectRepair({ ...context, budget: this.#budget, redundancy, view })
    this.#scrubber = new Scrubber(meta, clock, log, (objectId, signal) => this.#scrub(objectId, signal), {
      ...{ periodMs: scrubPeriodMs, pollMs, saveEveryMs: SCRUB_SAVED_EVERY_MS },
    })
  }

  /** Works until disposed of. */
  start(): void {
    const { signal } = this.#stopping
    const lanes = Array.from({ length: this.#limits.concurrency }, () => this.#lane(signal))
    this.#running = Promise.all([...lanes, this.#watch(signal), this.#surveys(signal), this.#scrubber.run(signal)])
  }

  /** Somebody met a wrong or missing piece: the shard is read, and rewritten if it is bad. */
  wanted(objectId: string, shardIndex: number, reason: string): void {
    this.#counts.reported++
    const { n, k } = this.#limits.redundancy
    if (this.#queue.add(objectId, n - k - 1, [shardIndex])) {
      this.#context.log.event('repair.wanted', { objectId, shardIndex, reason })
    }
  }

  /** An object was stored; some of its shards may be owed. */
  stored({ objectId, shards, dataShards }: Pick<ObjectRecord, 'objectId' | 'shards' | 'dataShards'>): void {
    const filled = shards.filter(({ confirmed }) => confirmed).map(({ backend }) => backend)
    this.#news.filled(filled, this.#context.clock.monotonicMs())
    const confirmedCount = filled.length
    if (confirmedCount === shards.length) return
    const id = objectId.toString('hex')
    this.#thin.add(id)
    this.#queue.add(id, confirmedCount - dataShards)
  }

  deleted(objectId: string): void {
    this.#thin.delete(objectId)
    this.#queue.forget(objectId)
  }

  /** Reads every shard of these objects now and rebuilds what is bad or owed; `null`: of all objects.
   *  @throws StorError when the metadata does not list, the signal's reason */
  async rebuild(
    objectIds: readonly Buffer[] | null,
    options: { readonly signal?: AbortSignal; readonly onProgress?: (done: number, total: number) => void } = {},
  ): Promise<RebuildResult> {
    const stop = this.#stopping.signal
    const signal = options.signal === undefined ? stop : AbortSignal.any([options.signal, stop])
    const rebuilding = this.#rebuildNow(objectIds, signal, options.onProgress)
    const settled = rebuilding.then(
      () => undefined,
      () => undefined,
    )
    this.#asked.add(settled)
    try {
      return await rebuilding
    } finally {
      this.#asked.delete(settled)
    }
  }

  async #rebuildNow(
    objectIds: readonly Buffer[] | null,
    signal: AbortSignal,
    onProgress: ((done: number, total: number) => void) | undefined,
  ): Promise<RebuildResult> {
    const listed = objectIds ?? (await this.#listObjects(signal))
    const totals = { objectCount: 0, verifiedShardCount: 0, badShardCount: 0, rebuiltShardCount: 0, pendingCount: 0 }
    const pending: { objectId: string; reason: string }[] = []
    const queue = listed.values()
    let doneCount = 0
    const lane = async () => {
      for (const objectId of queue) {
        signal.throwIfAborted()
        const id = objectId.toString('hex')
        const outcome = await this.#attempt(id, 'all', { signal })
        onProgress?.(++doneCount, listed.length)
        if (typeof outcome !== 'string' && !outcome.found) continue
        totals.objectCount++
        const reason = typeof outcome === 'string' ? outcome : outcome.pending
        if (typeof outcome !== 'string') {
          totals.verifiedShardCount += outcome.verifiedCount
          totals.badShardCount += outcome.badCount
          totals.rebuiltShardCount += outcome.rebuiltCount
        }
        if (reason === '') continue
        totals.pendingCount++
        if (pending.length < PENDING_SHOWN_MAX) pending.push({ objectId: id, reason })
      }
    }
    // All of them: whoever closes the backends waits for this.
    const lanes = await Promise.allSettled(Array.from({ length: this.#limits.concurrency }, lane))
    for (const outcome of lanes) if (outcome.status === 'rejected') throw outcome.reason
    return { ...totals, pending }
  }

  /** Reads every shard of an object for somebody who asked. What is bad is repaired beside it.
   *  @throws StorError @see inspectObject */
  async inspect(objectId: Buffer, options: { readonly signal?: AbortSignal } = {}): Promise<DeepCheck> {
    const { answerWithinMs } = this.#limits
    const found = await inspectObject(objectId, { ...this.#context, answerWithinMs }, options)
    for (const { index, state } of found.shards) {
      if (state === 'bad') this.wanted(objectId.toString('hex'), index, 'a deep check found it bad')
    }
    return found
  }

  get thinCount(): number {
    return this.#thin.size
  }

  get status(): RepairStatus {
    const { size, doneCount, runningCount, hinderedCount, thinnestMargin, reasons } = this.#queue
    const round = this.#scrubber.round
    const { rebuilt, failed, reported, verified, bad } = this.#counts
    const etaMs = (size * this.#repairMs) / this.#limits.concurrency
    const isEtaUnknown = size > 0 && (this.#repairMs === 0 || hinderedCount === size)
    return {
      surveyed: this.#surveyedAtMs !== null,
      ...{ pendingCount: size, doneCount, runningCount, thinnestMargin, reasons: reasons.slice(0, PENDING_SHOWN_MAX) },
      etaMs: isEtaUnknown ? null : Math.round(etaMs),
      ...{ rebuiltShardCount: rebuilt, failedCount: failed, reportedCount: reported },
      movedBytes: this.#budget.takenBytes,
      cpuMs: Math.round(this.#budget.cpuMs),
      scrub: round === null ? null : { ...round, verifiedShardCount: verified, badShardCount: bad },
      orphans: this.#orphans,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new StorError('unavailable', 'stor is stopping')
    this.#stopping.abort(reason)
    await Promise.all(this.#asked)
    await this.#running.catch(error => {
      if (error !== reason) throw error
    })
  }

  async #lane(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const item = this.#queue.take()
      if (item === null) {
        await delay(this.#context.clock, this.#limits.pollMs, { signal }).catch(() => undefined)
        continue
      }
      const startedMs = this.#context.clock.monotonicMs()
      const { objectId, margin, suspects } = item
      const outcome = await this.#attempt(objectId, suspects, { signal, urgent: margin <= 0 })
      if (typeof outcome === 'string') this.#queue.failed(objectId, outcome, suspects)
      else if (!outcome.found) this.#queue.forget(objectId)
      else if (outcome.pending !== '') this.#queue.failed(objectId, outcome.pending, outcome.suspects)
      else this.#queue.done(objectId)
      const tookMs = this.#context.clock.monotonicMs() - startedMs
      this.#repairMs = this.#repairMs === 0 ? tookMs : this.#repairMs * 0.9 + tookMs * 0.1
    }
  }

  /** One attempt on one object; alone with it. @returns the reason, in words, when it failed */
  async #attempt(
    objectId: string,
    suspects: ReadonlySet<number> | 'all',
    options: { readonly signal?: AbortSignal; readonly urgent?: boolean },
  ): Promise<RepairOutcome | string> {
    const { log } = this.#context
    try {
      const id = Buffer.from(objectId, 'hex')
      const outcome = await this.#objects.run(objectId, () => this.#repair.run(id, suspects, options))
      this.#counts.rebuilt += outcome.rebuiltCount
      this.#counts.verified += outcome.verifiedCount
      this.#counts.bad += outcome.badCount
      if (outcome.confirmedCount < outcome.totalShards) this.#thin.add(objectId)
      else this.#thin.delete(objectId)
      // Sources that turned out bad while they were read are next.
      if (outcome.suspects.length > 0 || outcome.pending !== '') {
        this.#queue.add(objectId, outcome.margin, outcome.suspects)
      }
      return outcome
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!(error instanceof StorError)) throw error
      this.#counts.failed++
      log.warn('repair.failed', { objectId, error })
      return error.message
    }
  }

  async #scrub(objectId: Buffer, signal: AbortSignal): Promise<void> {
    const id = objectId.toString('hex')
    const outcome = await this.#attempt(id, 'all', { signal })
    if (typeof outcome === 'string') throw new StorError('unavailable', outcome)
  }

  /** Who waits is tried again at once when a backend is back. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, fleet } = this.#context
    let down = new Set<string>()
    while (!signal.aborted) {
      const downNow = new Set(fleet.data.map(({ backend }) => backend.name).filter(name => fleet.isDown(name)))
      if (down.difference(downNow).size > 0) this.#queue.hasten()
      down = downNow
      await delay(clock, this.#limits.pollMs, { signal }).catch(() => undefined)
    }
  }

  /** Looks through all records when there is reason to. */
  async #surveys(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#context
    while (!signal.aborted) {
      const news = this.#news.look()
      const isOld = this.#surveyedAtMs === null || clock.monotonicMs() - this.#surveyedAtMs > SURVEY_EVERY_MS
      const isDue = this.#isCutFor(news) ? this.#queue.size <= this.#limits.queueMax / 2 : news.size > 0
      try {
        if (isDue || isOld) await this.#survey(news, signal)
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof StorError)) throw error
        log.warn('survey.failed', { error })
      }
      await delay(clock, this.#limits.pollMs, { signal }).catch(() => undefined)
    }
  }

  async #survey(news: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { meta, fleet, log } = this.#context
    const candidates = fleet.candidates(0)
    const from = this.#isCutFor(news) ? this.#cut!.from : ''
    let refused: string | null = null
    const { named, recordCount, unreadableCount } = await surveyRecords(meta, log, signal, record => {
      const { margin, unplaced, displaced, suspects, hasRemovals } = diagnose(record, this.#news)
      const id = record.objectId.toString('hex')
      if (record.shards.some(({ confirmed, backend }) => !confirmed || !this.#news.isKnown(backend))) this.#thin.add(id)
      // Of those before it, whatever there was to do is done, or in the queue.
      if (id < from) return
      const canMove = this.#canMove(record, displaced, candidates)
      if (unplaced.length === 0 && suspects.length === 0 && !hasRemovals && !canMove) return
      const { refusedCount } = this.#queue
      this.#queue.add(id, margin, suspects)
      if (this.#queue.refusedCount > refusedCount) refused ??= id
    })
    this.#surveyedAtMs = this.#context.clock.monotonicMs()
    // What found no room in the queue is looked for again, and the news stay news, as soon as there is some.
    this.#cut = refused === null ? null : { from: refused, news }
    if (this.#cut === null) this.#news.surveyed(news)
    log.event('survey.ended', { recordCount, unreadableCount, pendingCount: this.#queue.size })
    const orphans = { removedCount: this.#orphans.removedCount, youngCount: 0, unknownCount: 0 }
    for (const { backend } of fleet.data) {
      if (fleet.isDown(backend.name)) continue
      try {
        const graceMs = this.#limits.orphanGraceMs
        const sweep = { ...this.#context, budget: this.#budget, objects: this.#objects, graceMs }
        const { removedCount, youngCount, unknownCount } = await sweepOrphans(backend, named, sweep, { signal })
        orphans.removedCount += removedCount
        orphans.youngCount += youngCount
        orphans.unknownCount += unknownCount
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof StorError)) throw error
        log.warn('orphans.not_swept', { backend: backend.name, error })
      }
    }
    this.#orphans = orphans
  }

  /** Whether these news were too many for the queue. */
  #isCutFor(news: ReadonlySet<string>): boolean {
    return this.#cut !== null && news.isSubsetOf(this.#cut.news)
  }

  /** Where nothing better is free, shards stay where they are, be it with a backend that was given up, or where the promise
   *  is not kept; and their objects fill no queue. */
  #canMove(record: ObjectRecord, displaced: readonly number[], candidates: readonly Candidate[]): boolean {
    const redundancy = redundancyOf(record, this.#limits.redundancy)
    if (displaced.length > 0)
      return planRepair(record, displaced, candidates, this.#news, redundancy).targets.length > 0
    return planMoves(record.shards, candidates, redundancy, name => !this.#news.isDown(name)).length > 0
  }

  async #listObjects(signal: AbortSignal): Promise<Buffer[]> {
    const keys = await this.#context.meta.list({ signal })
    return keys.map(objectIdOfKey).filter(id => id !== null)
  }
}

/** Reasons and objects that are told one by one. */
const PENDING_SHOWN_MAX = 100
