import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import { retry } from '@qsfs/concurrency/retry'
import { StorError } from '../errors.ts'
import type { BackendDecorator, BackendRequest } from './decorated-backend.ts'
import type { Vitals } from './vitals.ts'

/** Repeats what a lost connection interrupted, a few times and not for long: whoever asks has other backends. Of one that
 *  is down by now nothing is repeated. A put is repeated too: the piece of a lost answer becomes an orphan, and the shard gets another run of ids. */
export class Retrier implements BackendDecorator {
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #vitals: Pick<Vitals, 'isDown'>
  readonly #attemptsMax: number

  constructor(
    clock: Clock,
    random: RandomSource,
    vitals: Pick<Vitals, 'isDown'>,
    { attemptsMax }: { readonly attemptsMax: number },
  ) {
    this.#clock = clock
    this.#random = random
    this.#vitals = vitals
    this.#attemptsMax = attemptsMax
  }

  around<T>({ signal }: BackendRequest, run: () => Promise<T>): Promise<T> {
    return retry(this.#clock, run, {
      firstMs: 50,
      maxMs: 1000,
      random: this.#random,
      attemptsMax: this.#attemptsMax,
      isWorthRetrying: error => error instanceof StorError && error.reason === 'unavailable' && !this.#vitals.isDown,
      signal,
    })
  }
}
