import type { Clock } from '@qsfs/concurrency/clock'

/** A clock on which short waits are over at once and long ones never: histories with thousands of pauses run in no time. */
export const impatientClock: Clock = {
  nowMs: () => 0,
  monotonicMs: () => 0,
  schedule(delayMs, action) {
    if (delayMs > 1000) return () => undefined
    const immediate = setImmediate(action)
    return () => clearImmediate(immediate)
  },
}
