import type { Clock } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'

interface Waiter {
  readonly sizeBytes: number
  readonly settle: PromiseWithResolvers<void>
  readonly cancelDeadline: () => void
}

/** Writes that found the buffer full, in order. Each is answered within `waitMs`; /dev/fuse is read meanwhile. */
export class WriteQueue {
  readonly #clock: Clock
  readonly #limits: { bytesMax: number; waitMs: number }
  #waiters: Waiter[] = []
  #sizeBytes = 0

  constructor(clock: Clock, limits: { bytesMax: number; waitMs: number }) {
    this.#clock = clock
    this.#limits = limits
  }

  get isEmpty(): boolean {
    return this.#waiters.length === 0
  }
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** @throws FuseError EIO when so much may not wait: the kernel has more under way than was agreed */
  requireRoom(sizeBytes: number): void {
    if (this.#sizeBytes + sizeBytes > this.#limits.bytesMax) throw new FuseError('EIO', 'too many writes wait for room')
  }

  /** Settles when it is this write's turn.
   *  @throws FuseError EIO when its time is over */
  wait(sizeBytes: number): Promise<void> {
    const settle = Promise.withResolvers<void>()
    const cancelDeadline = this.#clock.schedule(this.#limits.waitMs, () => {
      this.#remove(waiter)
      settle.reject(new FuseError('EIO', `no room in the write buffer for ${this.#limits.waitMs} ms`))
    })
    const waiter = { sizeBytes, settle, cancelDeadline }
    this.#waiters.push(waiter)
    this.#sizeBytes += sizeBytes
    return settle.promise
  }

  /** Lets go on who has room now, first come first served. */
  admit(hasRoom: (sizeBytes: number) => boolean): void {
    for (let first = this.#waiters[0]; first !== undefined && hasRoom(first.sizeBytes); first = this.#waiters[0]) {
      this.#remove(first)
      first.cancelDeadline()
      first.settle.resolve()
    }
  }

  /** There will be no room: all who wait are told why. */
  reject(reason: unknown): void {
    const waiters = this.#waiters
    this.#waiters = []
    this.#sizeBytes = 0
    for (const { cancelDeadline, settle } of waiters) {
      cancelDeadline()
      settle.reject(reason)
    }
  }

  #remove(waiter: Waiter): void {
    const index = this.#waiters.indexOf(waiter)
    if (index < 0) return
    this.#waiters.splice(index, 1)
    this.#sizeBytes -= waiter.sizeBytes
  }
}
