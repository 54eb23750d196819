import type { Clock } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { BackendStat } from './backend.ts'

export interface Watched {
  /** Unique among all that are watched. */
  readonly id: string
  stat(options: { readonly signal: AbortSignal }): Promise<BackendStat>
}

export interface HealthLimits {
  readonly intervalMs: number
  /** A check that takes longer has failed. */
  readonly answerWithinMs: number
  /** A backend whose checks have failed for so long is down. */
  readonly downAfterMs: number
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
}

/** Consecutive checks that bring a backend back up, or take it down: one lost answer changes nothing. */
const CHECKS_TO_RISE = 2
const CHECKS_TO_FALL = 2

interface Patient {
  readonly watched: Watched
  observation: Observation
  failedSinceMs: number | null
  failedCount: number
  answeredCount: number
}

/** Asks every backend now and then how it is. Up or down change with hysteresis, so that nothing flaps; whoever waits for
 *  a backend stops waiting when it is called down. */
export class Health implements AsyncDisposable {
  readonly #patients: ReadonlyMap<string, Patient>
  readonly #clock: Clock
  readonly #log: Log
  readonly #limits: HealthLimits
  readonly #stopped = new AbortController()

  constructor(watched: readonly Watched[], clock: Clock, log: Log, limits: HealthLimits) {
    const unseen = { state: 'unknown', reachable: false, stat: null, statAtMs: 0, note: 'not asked yet' } as const
    this.#patients = new Map(
      watched.map(one => [
        one.id,
        { watched: one, observation: unseen, failedSinceMs: null, failedCount: 0, answeredCount: 0 },
      ]),
    )
    this.#clock = clock
    this.#log = log
    this.#limits = limits
  }

  /** Checks all now and then again and again, until disposed. */
  start(): void {
    for (const patient of this.#patients.values()) this.#watch(patient)
  }

  /** One round, for a command that does not stay: who does not answer is down for it. */
  async checkOnce(): Promise<void> {
    await Promise.all(
      this.#patients.values().map(async patient => {
        await this.#check(patient)
        const state = patient.observation.reachable ? 'up' : 'down'
        patient.observation = { ...patient.observation, state }
      }),
    )
  }

  isDown(id: string): boolean {
    return this.#patients.get(id)?.observation.state === 'down'
  }

  observe(id: string): Observation {
    const patient = this.#patients.get(id)
    if (patient === undefined) throw new Error(`${id} is not watched`)
    return patient.observation
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort()
  }

  async #watch(patient: Patient): Promise<void> {
    if (this.#stopped.signal.aborted) return
    await this.#check(patient)
    if (this.#stopped.signal.aborted) return
    this.#clock.schedule(this.#limits.intervalMs, () => void this.#watch(patient))
  }

  async #check(patient: Patient): Promise<void> {
    const askedMs = this.#clock.monotonicMs()
    const { stat, note } = await this.#ask(patient.watched)
    if (this.#stopped.signal.aborted) return
    const before = patient.observation
    if (stat === null) {
      patient.answeredCount = 0
      patient.failedCount++
      patient.failedSinceMs ??= this.#clock.monotonicMs()
    } else {
      patient.answeredCount++
      patient.failedCount = 0
      patient.failedSinceMs = null
    }
    const state = this.#stateOf(patient)
    const statAtMs = stat === null ? before.statAtMs : askedMs
    patient.observation = { state, reachable: stat !== null, stat: stat ?? before.stat, statAtMs, note }
    if (state === before.state) return
    this.#log.event('backend.health_changed', { backend: patient.watched.id, state, note })
  }

  #stateOf({ observation, answeredCount, failedCount, failedSinceMs }: Patient): HealthState {
    if (failedSinceMs !== null) {
      const failedMs = this.#clock.monotonicMs() - failedSinceMs
      return failedCount >= CHECKS_TO_FALL && failedMs >= this.#limits.downAfterMs ? 'down' : observation.state
    }
    return observation.state !== 'down' || answeredCount >= CHECKS_TO_RISE ? 'up' : 'down'
  }

  /** A backend that hangs is given up by us: its own timeout may be longer. */
  async #ask(watched: Watched): Promise<{ stat: BackendStat | null; note: string }> {
    const late = new AbortController()
    const cancel = this.#clock.schedule(this.#limits.answerWithinMs, () => late.abort(new Error('no answer in time')))
    const { promise: aborted, reject } = Promise.withResolvers<never>()
    aborted.catch(() => undefined)
    late.signal.addEventListener('abort', () => reject(late.signal.reason), { once: true })
    try {
      return { stat: await Promise.race([watched.stat({ signal: late.signal }), aborted]), note: '' }
    } catch (error) {
      return { stat: null, note: error instanceof Error ? error.message : String(error) }
    } finally {
      cancel()
    }
  }
}
