import type { Clock } from '@qsfs/concurrency/clock'
import type { BackendStat } from './backend.ts'

export interface Watched {
  /** Unique among all that are watched. */
  readonly id: string
  stat(options: { readonly signal: AbortSignal }): Promise<BackendStat>
  /** Told of each check that was answered, and when it was asked, monotonic. */
  checked?(stat: BackendStat, askedMs: number): void
  /** Told when it is called up or down. */
  changed?(state: HealthState): void
}

export interface HealthLimits {
  readonly intervalMs: number
  /** A check that takes longer has failed. */
  readonly answerWithinMs: number
  /** A backend whose checks have failed for so long is down. */
  readonly downAfterMs: number
  /** One that is down must have answered every check for so long to be up again; after each relapse for twice as long. */
  readonly upAfterMs: number
}

export type HealthState = 'unknown' | 'up' | 'down'

export interface Observation {
  readonly state: HealthState
  /** Whether the last check was answered. */
  readonly reachable: boolean
  /** Of the last check that was answered. */
  readonly stat: BackendStat | null
  /** When that check was asked, monotonic. */
  readonly statAtMs: number
  /** Why the last check failed, '' when it did not. */
  readonly note: string
  /** Since when it is in this state, milliseconds since 1970. */
  readonly sinceMs: number
  /** How long answers to the last checks took, median; null: there was none. */
  readonly latencyMs: number | null
  /** How often it was called down since the start. */
  readonly fallCount: number
  /** Of one that is down and answers: how much longer it must. */
  readonly upInMs: number | null
}

/** Consecutive checks that take a backend down, or bring it back up, at least: one lost answer changes nothing. */
const CHECKS_MIN = 2
/** One of which half of so many checks failed is down too, though it answers now and then. */
const CHECKS_REMEMBERED = 10
/** Who falls again so soon after it rose flaps, and must prove itself for twice as long; up to this. */
const RELAPSE_MS = 10 * 60 * 1000
const UP_AFTER_MAX_MS = 10 * 60 * 1000
/** Answers whose time counts. */
const LATENCIES_MAX = 9

type Limits = Pick<HealthLimits, 'downAfterMs' | 'upAfterMs'>

/** One backend, as its checks showed it. */
export class Patient {
  readonly watched: Watched
  readonly #clock: Clock
  readonly #limits: Limits
  #state: HealthState = 'unknown'
  #sinceMs: number
  /** Monotonic. */
  #changedAtMs: number
  #stat: BackendStat | null = null
  #statAtMs = 0
  #note = 'not asked yet'
  #reachable = false
  readonly #latenciesMs: number[] = []
  /** Checks in a row that ended alike, and when the first of them ended. */
  #run = { count: 0, startedMs: 0 }
  /** Whether the last checks were answered. */
  #remembered: boolean[] = []
  #fallCount = 0
  /** It fell so often with no steady time between. */
  #relapseCount = 0

  constructor(watched: Watched, clock: Clock, limits: Limits) {
    this.watched = watched
    this.#clock = clock
    this.#limits = limits
    this.#sinceMs = Math.floor(clock.nowMs())
    this.#changedAtMs = clock.monotonicMs()
  }

  get state(): HealthState {
    return this.#state
  }

  get downForMs(): number {
    return this.#state === 'down' ? this.#clock.monotonicMs() - this.#changedAtMs : 0
  }

  get observation(): Observation {
    const sorted = this.#latenciesMs.toSorted((a, b) => a - b)
    return {
      state: this.#state,
      reachable: this.#reachable,
      stat: this.#stat,
      statAtMs: this.#statAtMs,
      note: this.#note,
      sinceMs: this.#sinceMs,
      latencyMs: sorted[Math.floor(sorted.length / 2)] ?? null,
      fallCount: this.#fallCount,
      upInMs: this.#state === 'down' && this.#reachable ? Math.max(0, this.#neededMs - this.#runMs) : null,
    }
  }

  answered(stat: BackendStat, askedMs: number): void {
    this.#stat = stat
    this.#statAtMs = askedMs
    this.#latenciesMs.push(this.#clock.monotonicMs() - askedMs)
    if (this.#latenciesMs.length > LATENCIES_MAX) this.#latenciesMs.shift()
    this.#note = ''
    this.#remember(true)
    const isProven = this.#run.count >= CHECKS_MIN && this.#runMs >= this.#neededMs
    if (this.#state === 'unknown' || (this.#state === 'down' && isProven)) this.#change('up')
  }

  failed(note: string): void {
    this.#note = note
    this.#remember(false)
    if (this.#state === 'down') return
    const isSilent = this.#run.count >= CHECKS_MIN && this.#runMs >= this.#limits.downAfterMs
    const failedCount = this.#remembered.filter(isAnswered => !isAnswered).length
    const isUnsteady = this.#remembered.length === CHECKS_REMEMBERED && failedCount * 2 >= CHECKS_REMEMBERED
    if (isSilent || isUnsteady) this.#fall()
  }

  /** Without hysteresis. */
  believeLastCheck(): void {
    this.#change(this.#reachable ? 'up' : 'down')
  }

  #remember(isAnswered: boolean): void {
    if (this.#run.count === 0 || isAnswered !== this.#reachable) {
      this.#run = { count: 0, startedMs: this.#clock.monotonicMs() }
    }
    this.#run.count++
    this.#reachable = isAnswered
    this.#remembered = [...this.#remembered, isAnswered].slice(-CHECKS_REMEMBERED)
  }

  #fall(): void {
    const upMs = this.#clock.monotonicMs() - this.#changedAtMs
    const isRelapse = this.#fallCount > 0 && upMs < RELAPSE_MS
    this.#relapseCount = isRelapse ? this.#relapseCount + 1 : 0
    this.#fallCount++
    this.#change('down')
  }

  #change(state: HealthState): void {
    if (state === this.#state) return
    this.#state = state
    this.#sinceMs = Math.floor(this.#clock.nowMs())
    this.#changedAtMs = this.#clock.monotonicMs()
    this.#remembered = []
  }

  get #runMs(): number {
    return this.#clock.monotonicMs() - this.#run.startedMs
  }

  /** For so long it must answer to be up again. */
  get #neededMs(): number {
    const { upAfterMs } = this.#limits
    return Math.min(upAfterMs * 2 ** this.#relapseCount, Math.max(upAfterMs, UP_AFTER_MAX_MS))
  }
}
