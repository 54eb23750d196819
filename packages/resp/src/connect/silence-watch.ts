import { systemClock } from '@qsfs/concurrency/clock'

/** Commands wait, and no reply comes. */
export class ServerSilent extends Error {
  override readonly name = 'ServerSilent'
}

/** Notices a server that owes replies and sends none. */
export class SilenceWatch implements Disposable {
  readonly #limitMs: number
  readonly #onSilence: (error: Error) => void
  #waitingCount = 0
  #progressMs = 0
  #cancel: (() => void) | null = null

  /** @param limitMs 0: never */
  constructor(limitMs: number, onSilence: (error: Error) => void) {
    this.#limitMs = limitMs
    this.#onSilence = onSilence
  }

  commandSent(): void {
    if (this.#limitMs === 0 || this.#waitingCount++ > 0) return
    this.#progressMs = systemClock.monotonicMs()
    if (!this.#cancel) this.#watch(this.#limitMs)
  }

  commandEnded(): void {
    if (this.#limitMs === 0) return
    this.#waitingCount--
    this.#progressMs = systemClock.monotonicMs()
  }

  [Symbol.dispose](): void {
    this.#cancel?.()
    this.#cancel = null
  }

  #watch(afterMs: number): void {
    this.#cancel = systemClock.schedule(afterMs, () => {
      this.#cancel = null
      if (this.#waitingCount === 0) return
      const silentMs = systemClock.monotonicMs() - this.#progressMs
      if (silentMs < this.#limitMs) return this.#watch(this.#limitMs - silentMs)
      this.#onSilence(new ServerSilent(`no reply for ${this.#limitMs} ms`))
    })
  }
}
