import type { Clock } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { BackendStat } from './backend.ts'
import { type HealthLimits, type Observation, Patient, type Watched } from './patient.ts'

/** Asks every backend now and then how it is. Up or down change with hysteresis, so that nothing flaps; whoever waits for
 *  a backend stops waiting when it is called down. */
export class Health implements AsyncDisposable {
  readonly #patients: ReadonlyMap<string, Patient>
  readonly #clock: Clock
  readonly #log: Log
  readonly #limits: HealthLimits
  readonly #stopped = new AbortController()

  constructor(watched: readonly Watched[], clock: Clock, log: Log, limits: HealthLimits) {
    this.#patients = new Map(watched.map(one => [one.id, new Patient(one, clock, limits)]))
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
        patient.believeLastCheck()
        patient.watched.changed?.(patient.state)
      }),
    )
  }

  isDown(id: string): boolean {
    return this.#patients.get(id)?.state === 'down'
  }

  /** How long it has been down, 0 when it is not. */
  downForMs(id: string): number {
    return this.#patients.get(id)?.downForMs ?? 0
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
    const before = patient.state
    if (stat === null) patient.failed(note)
    else {
      patient.answered(stat, askedMs)
      patient.watched.checked?.(stat, askedMs)
    }
    const { state, fallCount } = patient.observation
    if (state === before) return
    patient.watched.changed?.(state)
    this.#log.event('backend.health_changed', { backend: patient.watched.id, state, note, fallCount })
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
