import type { Clock } from '@qsfs/concurrency/clock'

/** Syncs by itself, some time after it was asked to: one sync at a time, and another after it for who asked meanwhile. */
export class BackgroundSync implements Disposable {
  readonly #clock: Clock
  readonly #delayMs: number
  readonly #sync: () => Promise<boolean>
  #cancelTimer: (() => void) | null = null
  #isSyncing = false
  #isDisposed = false

  /** @param sync never rejects; true: there is more to sync */
  constructor(clock: Clock, delayMs: number, sync: () => Promise<boolean>) {
    this.#clock = clock
    this.#delayMs = delayMs
    this.#sync = sync
  }

  later(): void {
    if (!this.#isDisposed) this.#cancelTimer ??= this.#clock.schedule(this.#delayMs, () => this.now())
  }

  async now(): Promise<void> {
    this.#cancelTimer?.()
    this.#cancelTimer = null
    if (this.#isDisposed || this.#isSyncing) return
    this.#isSyncing = true
    const isMoreLeft = await this.#sync()
    this.#isSyncing = false
    // Who asked meanwhile was not heard, and maybe nobody asks again.
    if (isMoreLeft) this.later()
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true
    this.#cancelTimer?.()
  }
}
