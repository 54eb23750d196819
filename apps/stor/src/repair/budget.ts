import { type Clock, delay } from '@qsfs/concurrency/clock'
import { StorError } from '../errors.ts'

export interface BudgetLimits {
  readonly bytesPerSecond: number
  /** Time of coding and checking for each second that passes: the part of a core that they may take. */
  readonly cpuShare: number
  /** A backend that has not answered a piece by then did not answer. */
  readonly answerWithinMs: number
}

export interface TakeOptions {
  /** The object has nothing left to lose: it does not stand back for readers. */
  readonly urgent?: boolean
  readonly signal?: AbortSignal
}

/** How long one step of repair stands back while somebody reads: slowed down to four steps a second, never stopped. */
const YIELD_MS = 250
const YIELD_STEP_MS = 10

/** The share of backends, network and processor that repair and scrub may use together. Readers go first. */
export class RepairBudget {
  readonly #clock: Clock
  readonly #isReading: () => boolean
  readonly #limits: BudgetLimits
  #freeAtMs = 0
  #cpuFreeAtMs = 0
  #takenBytes = 0
  #cpuMs = 0

  /** @param isReading whether a retrieve is under way */
  constructor(clock: Clock, isReading: () => boolean, limits: BudgetLimits) {
    this.#clock = clock
    this.#isReading = isReading
    this.#limits = limits
  }

  /** Bytes read and written since the start. */
  get takenBytes(): number {
    return this.#takenBytes
  }

  /** Time spent on coding and checking since the start. */
  get cpuMs(): number {
    return this.#cpuMs
  }

  /** Codes or checks something, at once; what it took is paid for by the next steps, which wait the longer. */
  compute<T>(work: () => T): T {
    const startedMs = this.#clock.monotonicMs()
    try {
      return work()
    } finally {
      const tookMs = this.#clock.monotonicMs() - startedMs
      this.#cpuMs += tookMs
      this.#cpuFreeAtMs = Math.max(startedMs, this.#cpuFreeAtMs) + tookMs / this.#limits.cpuShare
    }
  }

  /** Waits until this step's bytes may move, and the computing before it is paid for. */
  async take(bytes: number, { urgent = false, signal }: TakeOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    const nowMs = this.#clock.monotonicMs()
    const startMs = Math.max(nowMs, this.#freeAtMs)
    this.#freeAtMs = startMs + (bytes / this.#limits.bytesPerSecond) * 1000
    this.#takenBytes += bytes
    const options = { signal }
    const waitMs = Math.max(startMs, this.#cpuFreeAtMs) - nowMs
    if (waitMs > 0) await delay(this.#clock, waitMs, options)
    for (let waitedMs = 0; !urgent && waitedMs < YIELD_MS && this.#isReading(); waitedMs += YIELD_STEP_MS) {
      await delay(this.#clock, YIELD_STEP_MS, options)
    }
  }

  /** Waits for a backend, not for ever: one that hangs must not hold up the other objects.
   *  @param steps how many answers `work` is
   *  @throws StorError 'unavailable' */
  async within<T>(work: Promise<T>, steps = 1): Promise<T> {
    const late = Promise.withResolvers<never>()
    late.promise.catch(() => undefined)
    const answerWithinMs = Math.ceil(this.#limits.answerWithinMs * steps)
    const cancel = this.#clock.schedule(answerWithinMs, () =>
      late.reject(new StorError('unavailable', `a backend did not answer in ${answerWithinMs} ms`)),
    )
    try {
      return await Promise.race([work, late.promise])
    } finally {
      cancel()
      // Nobody waits for it any more; its failure is no news.
      work.catch(() => undefined)
    }
  }
}
