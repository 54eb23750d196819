import { Backoff, type BackoffLimits } from './backoff.ts'
import { type Clock, delay } from './clock.ts'

export interface RetryOptions extends BackoffLimits {
  readonly attemptsMax: number
  /** false: the error is final and thrown at once. */
  readonly isWorthRetrying: (error: unknown) => boolean
  readonly signal?: AbortSignal
}

/** Calls `attempt` until it succeeds, fails for good, or has failed `attemptsMax` times; pauses grow in between.
 *  @throws the last error, or the signal's reason */
export async function retry<T>(
  clock: Clock,
  attempt: (attemptIndex: number) => Promise<T>,
  { attemptsMax, isWorthRetrying, signal, ...limits }: RetryOptions,
): Promise<T> {
  const backoff = new Backoff(limits)
  for (let attemptIndex = 0; ; attemptIndex++) {
    signal?.throwIfAborted()
    try {
      return await attempt(attemptIndex)
    } catch (error) {
      if (attemptIndex + 1 >= attemptsMax || !isWorthRetrying(error)) throw error
    }
    await delay(clock, backoff.next(), signal === undefined ? {} : { signal })
  }
}
