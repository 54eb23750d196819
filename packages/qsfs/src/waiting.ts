import type { Clock } from '@qsfs/concurrency/clock'
import { say } from './terminal-log.ts'

const firstMs = 3000
const nextMs = 10_000

/** Says what is waited for when it takes long: after three seconds, then every ten.
 *  @param what `fs to write back`, asked for each time */
export async function sayingWhile<T>(clock: Clock, what: () => string, waiting: Promise<T>): Promise<T> {
  const startedMs = clock.monotonicMs()
  let cancel = clock.schedule(firstMs, sayIt)
  try {
    return await waiting
  } finally {
    cancel()
  }

  function sayIt(): void {
    say(`since ${Math.round((clock.monotonicMs() - startedMs) / 1000)} s waiting for ${what()}`)
    cancel = clock.schedule(nextMs, sayIt)
  }
}
