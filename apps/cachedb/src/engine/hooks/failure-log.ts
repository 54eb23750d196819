import type { Clock } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { HookFailure } from './hooks.ts'

/** While hooks of an event go on failing, this often a line says so. */
const sayAgainMs = 10 * 60_000

interface Failing {
  count: number
  saidAtMs: number
  /** Whether its last run failed. */
  isFailing: boolean
  /** Whether the log says that it fails. */
  isSaid: boolean
}

/** Says when hooks begin to fail and when they work again, and not each time a hook is tried in vain. */
export class FailureLog {
  readonly #clock: Clock
  readonly #log: Log
  readonly #byEvent = new Map<string, Failing>()
  #last: HookFailure | null = null

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  get last(): HookFailure | null {
    return this.#last
  }

  /** Events whose last run failed. */
  get failing(): readonly string[] {
    return [...this.#byEvent].filter(([, { isFailing }]) => isFailing).map(([event]) => event)
  }

  failed(event: string, args: readonly string[], reason: string): void {
    const nowMs = this.#clock.monotonicMs()
    this.#last = { event, reason, atSeconds: Math.floor(this.#clock.nowMs() / 1000) }
    const known = this.#byEvent.get(event) ?? {
      count: 0,
      saidAtMs: Number.NEGATIVE_INFINITY,
      isFailing: false,
      isSaid: false,
    }
    this.#byEvent.set(event, known)
    known.count++
    known.isFailing = true
    const fields = { hook: event, args, reason, failures: known.count }
    if (nowMs - known.saidAtMs < sayAgainMs) {
      this.#log.debug('hook.failed', fields)
      return
    }
    known.saidAtMs = nowMs
    known.isSaid = true
    this.#log.warn('hook.failed', fields)
  }

  worked(event: string): void {
    const known = this.#byEvent.get(event)
    if (!known?.isFailing) return
    known.isFailing = false
    if (!known.isSaid) return
    known.isSaid = false
    this.#log.event('hook.works_again', { hook: event, failures: known.count })
    known.count = 0
  }
}
