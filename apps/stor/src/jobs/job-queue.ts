import { Backoff } from '@qsfs/concurrency/backoff'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { JobsResult, JobsStatus } from '@qsfs/protocol/stor-control'
import type { Log } from '@qsfs/telemetry/log'
import { StorError } from '../errors.ts'
import type { Job } from './job-format.ts'
import type { JobJournal } from './job-journal.ts'

/** Does one job's work; throws StorError when it is to be tried again. */
export type JobWork = (job: Job, signal: AbortSignal) => Promise<void>

export interface JobQueueTools {
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
}

export interface JobLimits {
  /** Jobs at once: fewer than there are places for stores, so that who waits for an answer finds one. */
  readonly concurrency: number
  /** Jobs kept; more are refused. */
  readonly jobsMax: number
}

/** Between attempts of one job: it is tried soon, and then often enough. */
const RETRY = { firstMs: 1000, maxMs: 5 * 60_000 }
/** What a listing shows. */
const LISTED_MAX = 1000

interface Entry {
  job: Job
  readonly backoff: Backoff
  /** Resolved when it is on the disk. */
  saved: Promise<void>
  attemptCount: number
  lastError: string
  /** Monotonic. */
  notBeforeMs: number
  /** Its work under way. */
  running: Promise<void> | null
}

/** Stores that nobody waits for: kept on the disk until they succeeded, begun in order, each tried again after growing
 *  pauses of its own, so that one that fails holds up no other. */
export class JobQueue implements AsyncDisposable {
  readonly #journal: JobJournal
  readonly #tools: JobQueueTools
  readonly #limits: JobLimits
  readonly #entries = new Map<number, Entry>()
  readonly #stopping = new AbortController()
  #damaged: readonly string[] = []
  #lastNumber = 0
  #work: JobWork | null = null
  #cancelWake: () => void = () => undefined

  private constructor(journal: JobJournal, limits: JobLimits, tools: JobQueueTools) {
    this.#journal = journal
    this.#limits = limits
    this.#tools = tools
  }

  /** Reads the jobs of former processes; begins none.
   *  @throws StorError 'file' */
  static async open(journal: JobJournal, limits: JobLimits, tools: JobQueueTools): Promise<JobQueue> {
    const queue = new JobQueue(journal, limits, tools)
    const { jobs, damaged } = await journal.read()
    for (const path of damaged) tools.log.error('job.damaged', { path })
    queue.#damaged = damaged
    for (const job of jobs) queue.#remember(job)
    return queue
  }

  /** Whether somebody does the work: a daemon. */
  get isStarted(): boolean {
    return this.#work !== null
  }

  get status(): JobsStatus {
    const entries = [...this.#entries.values()]
    const failing = entries.filter(({ lastError }) => lastError !== '')
    return {
      waitingCount: entries.filter(({ running }) => running === null).length,
      runningCount: entries.filter(({ running }) => running !== null).length,
      failingCount: failing.length,
      oldestMs: entries[0]?.job.queuedMs ?? null,
      lastError: failing.at(-1)?.lastError ?? '',
      damagedFiles: this.#damaged,
    }
  }

  get list(): JobsResult {
    const nowMs = this.#tools.clock.monotonicMs()
    const entries = this.#entries.values().take(LISTED_MAX)
    return {
      ...this.status,
      jobs: [...entries].map(({ job, attemptCount, lastError, notBeforeMs, running }) => ({
        jobId: String(job.number),
        ...{ file: job.file, name: job.name, cause: job.cause, queuedMs: job.queuedMs },
        ...{ attemptCount, lastError },
        state: running === null ? 'waiting' : 'running',
        nextInMs: running === null ? Math.max(0, notBeforeMs - nowMs) : null,
      })),
    }
  }

  start(work: JobWork): void {
    this.#work = work
    this.#pump()
  }

  /** Takes a job; it is on the disk when this resolves. The same one that is still waiting is it already.
   *  @returns its number
   *  @throws StorError 'full' when there are too many, 'file' */
  async add(wanted: Omit<Job, 'number' | 'queuedMs' | 'stored'>): Promise<number> {
    const same = this.#entries.values().find(({ job, running }) => running === null && isSame(job, wanted))
    if (same !== undefined) {
      await same.saved
      return same.job.number
    }
    if (this.#entries.size >= this.#limits.jobsMax) {
      throw new StorError('full', `${this.#entries.size} jobs wait already; no more are taken`)
    }
    const queuedMs = Math.floor(this.#tools.clock.nowMs())
    const job = { ...wanted, number: ++this.#lastNumber, queuedMs, stored: null }
    // Known before it is on the disk: whoever asks for the same meanwhile waits for this one.
    const entry = this.#remember(job)
    entry.notBeforeMs = Number.POSITIVE_INFINITY
    entry.saved = this.#journal.put(job)
    try {
      await entry.saved
    } catch (error) {
      this.#entries.delete(job.number)
      throw error
    }
    entry.notBeforeMs = 0
    this.#pump()
    return job.number
  }

  /** Notes what an attempt achieved, on the disk. */
  async update(job: Job): Promise<void> {
    await this.#journal.put(job)
    const entry = this.#entries.get(job.number)
    if (entry !== undefined) entry.job = job
  }

  /** Forgets a job that is not being worked on.
   *  @returns whether there was one
   *  @throws StorError 'refused' while it runs */
  async drop(number: number): Promise<boolean> {
    const entry = this.#entries.get(number)
    if (entry === undefined) return false
    if (entry.running !== null) throw new StorError('refused', `job ${number} is being done right now`)
    this.#entries.delete(number)
    await this.#journal.remove(number)
    return true
  }

  /** Ends what runs; it is begun anew by the next process. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new StorError('unavailable', 'stor is stopping'))
    this.#cancelWake()
    await Promise.all(this.#entries.values().map(({ running }) => running))
  }

  #remember(job: Job): Entry {
    const backoff = new Backoff({ ...RETRY, random: this.#tools.random })
    const attempts = { attemptCount: 0, lastError: '', notBeforeMs: 0, running: null }
    const entry: Entry = { job, backoff, saved: Promise.resolve(), ...attempts }
    this.#entries.set(job.number, entry)
    this.#lastNumber = Math.max(this.#lastNumber, job.number)
    return entry
  }

  /** Begins what is due, oldest first, as far as there are places; wakes up again for what is not due yet. */
  #pump(): void {
    const work = this.#work
    if (work === null || this.#stopping.signal.aborted) return
    this.#cancelWake()
    const nowMs = this.#tools.clock.monotonicMs()
    let places =
      this.#limits.concurrency -
      this.#entries
        .values()
        .filter(({ running }) => running !== null)
        .toArray().length
    let nextMs = Number.POSITIVE_INFINITY
    for (const entry of this.#entries.values()) {
      if (places === 0) return
      if (entry.running !== null) continue
      if (entry.notBeforeMs > nowMs) {
        nextMs = Math.min(nextMs, entry.notBeforeMs)
        continue
      }
      places--
      entry.running = this.#attempt(entry, work).finally(() => {
        entry.running = null
        this.#pump()
      })
    }
    if (nextMs < Number.POSITIVE_INFINITY) {
      this.#cancelWake = this.#tools.clock.schedule(nextMs - nowMs, () => this.#pump())
    }
  }

  /** Never rejects. */
  async #attempt(entry: Entry, work: JobWork): Promise<void> {
    const { clock, log } = this.#tools
    const { number } = entry.job
    entry.attemptCount++
    try {
      await work(entry.job, this.#stopping.signal)
      await this.#journal.remove(number)
      this.#entries.delete(number)
      log.event('job.done', { jobId: number, file: entry.job.file })
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      const isExpected = error instanceof StorError
      if (!isExpected) log.error('job.failed_unexpectedly', { jobId: number, error })
      const message = error instanceof Error ? error.message : String(error)
      if (isExpected && message !== entry.lastError) log.warn('job.failed', { jobId: number, error })
      entry.lastError = message
      entry.notBeforeMs = clock.monotonicMs() + entry.backoff.next()
    }
  }
}

function isSame(job: Job, wanted: Omit<Job, 'number' | 'queuedMs' | 'stored'>): boolean {
  const { file, name, attach } = wanted
  return job.file === file && job.name === name && job.attach === attach && job.delete === wanted.delete && !job.stored
}
