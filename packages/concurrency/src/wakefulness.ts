import type { Clock } from './clock.ts'

export interface WakefulnessOptions {
  /** How long to stay awake after something happened: a wake-up costs 40-70 us, more than most answers. 0: never. */
  readonly pollUs: number
  /** False while the processor is better left to others. */
  readonly mayPoll?: () => boolean
}

/** After so many gaps in a row that polling did not bridge it sleeps at once, until one gap is short again. */
const longGapsMax = 32

/** Two turns of an event loop that only polls lie some microseconds apart. This much means that others want the processor: then
 *  polling uses up the time slice in which the next request would be served, so it pauses. */
const contendedTurnMs = 1
const contendedPauseMs = 100

/** Keeps the event loop turning for `pollUs` after something happened: every turn asks epoll without sleeping, so that whatever comes
 *  next on any socket is served at once. */
export class Wakefulness {
  readonly #clock: Clock
  readonly #pollMs: number
  readonly #mayPoll: () => boolean
  #isAwake = false
  #quietSinceMs = 0
  #longGaps = 0
  #turnedAtMs = 0
  #pollFromMs = 0

  constructor(clock: Clock, { pollUs, mayPoll = () => true }: WakefulnessOptions) {
    this.#clock = clock
    this.#pollMs = pollUs / 1000
    this.#mayPoll = mayPoll
  }

  /** Something came that was waited for; to be called before it is worked on. */
  came(): void {
    if (this.#pollMs === 0) return
    const isBridged = this.#clock.monotonicMs() - this.#quietSinceMs <= this.#pollMs
    this.#longGaps = isBridged ? 0 : this.#longGaps + 1
  }

  /** Something was done, and more may come soon. */
  stay(): void {
    if (this.#pollMs === 0) return
    const nowMs = this.#clock.monotonicMs()
    this.#quietSinceMs = nowMs
    // What was done took its time by ourselves, not because of others.
    this.#turnedAtMs = nowMs
    if (this.#isAwake || this.#longGaps >= longGapsMax || nowMs < this.#pollFromMs) return
    this.#isAwake = true
    setImmediate(this.#turn)
  }

  /** An event loop with an immediate pending does not sleep in epoll_wait: 2 us a turn, against 5 for a readSync that
   *  throws EAGAIN, and nobody waits for a burst to end. */
  readonly #turn = (): void => {
    const nowMs = this.#clock.monotonicMs()
    const isContended = nowMs - this.#turnedAtMs > contendedTurnMs
    if (isContended) this.#pollFromMs = nowMs + contendedPauseMs
    this.#turnedAtMs = nowMs
    const isQuiet = nowMs - this.#quietSinceMs > this.#pollMs
    this.#isAwake = !isQuiet && !isContended && this.#mayPoll()
    if (this.#isAwake) setImmediate(this.#turn)
  }
}
