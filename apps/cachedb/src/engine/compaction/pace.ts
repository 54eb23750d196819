import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Clock, delay } from '@qsfs/concurrency/clock'

/** Holds background reads and writes to so many bytes a second, whoever else is served meanwhile. */
export class Pace {
  readonly #clock: Clock
  readonly #bytesPerSecond: number
  /** When all that was spent is paid for. */
  #paidMs = 0

  /** @param bytesPerSecond 0: no limit, but a turn of the event loop */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Settles when as much time has passed as these bytes take. Rejects with the signal's reason. */
  async spend(bytes: number, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (this.#bytesPerSecond === 0) return void (await nextTurn())
    const nowMs = this.#clock.monotonicMs()
    this.#paidMs = Math.max(this.#paidMs, nowMs) + (bytes / this.#bytesPerSecond) * 1000
    await delay(this.#clock, this.#paidMs - nowMs, { signal })
  }
}
