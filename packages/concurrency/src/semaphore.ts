/** Room taken from a semaphore; give it back once, by `release` or `using`. Releasing again does nothing. */
export interface Permit extends Disposable {
  readonly weight: number
  release(): void
}

interface Waiter {
  readonly weight: number
  readonly admit: (permit: Permit) => void
}

/** At most `limit` units of work at once, first come first served: a heavy request is not overtaken by light ones. */
export class Semaphore {
  readonly limit: number
  #available: number
  readonly #waiters = new Set<Waiter>()

  constructor(limit: number) {
    if (!(limit > 0)) throw new RangeError(`a semaphore needs a limit above 0, not ${limit}`)
    this.limit = limit
    this.#available = limit
  }

  get available(): number {
    return this.#available
  }

  get waiting(): number {
    return this.#waiters.size
  }

  /** Waits for room. A weight above the limit counts as the whole limit: it runs alone instead of never.
   *  @throws the signal's reason when aborted while waiting; nothing is held then */
  acquire(weight = 1, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Permit> {
    const permit = this.tryAcquire(weight)
    if (permit !== null) return Promise.resolve(permit)
    if (signal?.aborted) return Promise.reject(signal.reason)
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiters.delete(waiter)
        // The one that left may have been the heavy one at the front.
        this.#admitWaiters()
        reject(signal?.reason)
      }
      const waiter: Waiter = {
        weight: Math.min(weight, this.limit),
        admit: permit => {
          signal?.removeEventListener('abort', onAbort)
          resolve(permit)
        },
      }
      this.#waiters.add(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Room now, or null. Never overtakes those who wait. */
  tryAcquire(weight = 1): Permit | null {
    const taken = Math.min(weight, this.limit)
    if (this.#waiters.size > 0 || taken > this.#available) return null
    return this.#take(taken)
  }

  #take(weight: number): Permit {
    this.#available -= weight
    let held = true
    const release = () => {
      if (!held) return
      held = false
      this.#available += weight
      this.#admitWaiters()
    }
    return { weight, release, [Symbol.dispose]: release }
  }

  #admitWaiters(): void {
    for (const waiter of this.#waiters) {
      if (waiter.weight > this.#available) return
      this.#waiters.delete(waiter)
      waiter.admit(this.#take(waiter.weight))
    }
  }
}
