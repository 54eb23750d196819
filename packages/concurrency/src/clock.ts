/** Time as the code sees it: everyone but a daemon's `main` is handed one, so that tests can own time. */
export interface Clock {
  /** Wall-clock milliseconds since 1970, with fractions. */
  nowMs(): number
  /** Monotonic milliseconds, for durations and deadlines. */
  monotonicMs(): number
  /** Runs `action` once after `delayMs`; the returned function cancels it. Never keeps the process alive by itself. */
  schedule(delayMs: number, action: () => void): () => void
}

/** The one real clock. */
export const systemClock: Clock = {
  nowMs: () => performance.timeOrigin + performance.now(),
  monotonicMs: () => performance.now(),
  schedule(delayMs, action) {
    const timer = setTimeout(action, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

/** Random bytes as the code sees them; `node:crypto.randomBytes` in daemons, seeded in tests. */
export type RandomSource = (lengthBytes: number) => Buffer

/** Waits; rejects with the signal's reason when aborted. Keeps the process alive while waiting only through its waiter. */
export function delay(clock: Clock, delayMs: number, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = clock.schedule(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
