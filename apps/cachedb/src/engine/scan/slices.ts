import type { Clock } from '@qsfs/concurrency/clock'
import { RunQueue } from '@qsfs/concurrency/run-queue'

/** Of the process, as the event loop is: however many have long work at once, it takes one slice of each turn. */
const queue = new RunQueue()

/** Long work on the event loop in slices: between two of them everybody else is served. */
export class Slices {
  readonly #clock: Clock
  readonly #sliceMs: number
  #endMs: number

  constructor(clock: Clock, sliceMs: number) {
    this.#clock = clock
    this.#sliceMs = sliceMs
    this.#endMs = clock.monotonicMs() + sliceMs
  }

  get isOver(): boolean {
    return this.#clock.monotonicMs() >= this.#endMs
  }

  /** Lets the loop turn, stands behind the long work of all others, and begins the next slice. */
  async pause(): Promise<void> {
    await new Promise<void>(resolve => queue.join(resolve))
    this.#endMs = this.#clock.monotonicMs() + this.#sliceMs
  }
}
