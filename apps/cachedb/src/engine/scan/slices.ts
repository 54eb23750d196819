import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '@qsfs/concurrency/clock'

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

  /** Lets the loop turn, and begins the next slice. */
  async pause(): Promise<void> {
    await nextTurn()
    this.#endMs = this.#clock.monotonicMs() + this.#sliceMs
  }
}
