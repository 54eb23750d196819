import type { Clock } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'

/** `promise`, or EIO once the time is over, or the signal's reason: the promise itself is left to its own end. */
export function before<T>(clock: Clock, deadlineMs: number, promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal?.reason)
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    const cancel = clock.schedule(deadlineMs - clock.monotonicMs(), () =>
      reject(new FuseError('EIO', 'no answer in time')),
    )
    const settle = () => {
      cancel()
      signal?.removeEventListener('abort', onAbort)
    }
    promise.then(resolve, reject).finally(settle)
  })
}
