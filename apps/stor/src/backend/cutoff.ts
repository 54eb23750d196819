import type { Clock } from '@qsfs/concurrency/clock'
import { StorError } from '../errors.ts'
import type { BackendDecorator, BackendRequest } from './decorated-backend.ts'
import type { Vitals } from './vitals.ts'

/** Ends the wait for a backend as soon as the monitor calls it down; one that is down already is waited for as long as a
 *  check is. What was handed over may still be read, and stored, later: as pieces that nobody names. */
export class Cutoff implements BackendDecorator {
  readonly #name: string
  readonly #clock: Clock
  readonly #vitals: Vitals
  readonly #answerWithinMs: number

  constructor(name: string, clock: Clock, vitals: Vitals, { answerWithinMs }: { readonly answerWithinMs: number }) {
    this.#name = name
    this.#clock = clock
    this.#vitals = vitals
    this.#answerWithinMs = answerWithinMs
  }

  async around<T>({ operation }: BackendRequest, run: () => Promise<T>): Promise<T> {
    // By these the monitor finds out; it has a deadline of its own.
    if (operation === 'stat') return run()
    const { promise: over, reject } = Promise.withResolvers<never>()
    const giveUp = () => reject(new StorError('unavailable', `${this.#name} is down: it is not waited for`))
    const cancel = this.#vitals.isDown
      ? this.#clock.schedule(this.#answerWithinMs, giveUp)
      : this.#vitals.whenDown(giveUp)
    try {
      return await Promise.race([run(), over])
    } finally {
      cancel()
    }
  }
}
