import { Semaphore } from '@qsfs/concurrency/semaphore'
import type { BackendDecorator, BackendRequest } from './decorated-backend.ts'

export interface BackendLimits {
  /** Bytes of puts sent and not yet answered. */
  readonly putBytesMax: number
  /** Reads asked and not yet answered. */
  readonly readsMax: number
}

/** Bounds what one backend is asked at a time; more waits here, in order. */
export class Limiter implements BackendDecorator {
  readonly #putBytes: Semaphore
  readonly #reads: Semaphore

  constructor({ putBytesMax, readsMax }: BackendLimits) {
    this.#putBytes = new Semaphore(putBytesMax)
    this.#reads = new Semaphore(readsMax)
  }

  async around<T>({ operation, sentBytes, signal }: BackendRequest, run: () => Promise<T>): Promise<T> {
    if (operation !== 'put' && operation !== 'get') return run()
    const [places, count] = operation === 'put' ? [this.#putBytes, Math.max(1, sentBytes)] : [this.#reads, 1]
    using _ = await places.acquire(count, { signal })
    return await run()
  }
}
