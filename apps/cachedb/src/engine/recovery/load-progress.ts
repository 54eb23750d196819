import type { Shelf } from '../shelf/shelf.ts'

const sayEveryMs = 5_000

/** Tells the log how far a long load is. */
export class LoadProgress {
  readonly #shelf: Shelf
  readonly #totalBytes: number
  #loadedBytes = 0
  readonly #startMs: number
  #saidMs: number

  constructor(shelf: Shelf) {
    this.#shelf = shelf
    this.#totalBytes = [...shelf.manifest.state.segments.values()].reduce((sum, { dataBytes }) => sum + dataBytes, 0)
    this.#startMs = shelf.context.clock.monotonicMs()
    this.#saidMs = this.#startMs
  }

  /** One more segment of so many bytes. */
  loaded(bytes: number): void {
    const { clock, log } = this.#shelf.context
    this.#loadedBytes += bytes
    const nowMs = clock.monotonicMs()
    if (nowMs - this.#saidMs < sayEveryMs) return
    this.#saidMs = nowMs
    log.event('namespace.loading', {
      directory: this.#shelf.directory,
      loadedBytes: this.#loadedBytes,
      totalBytes: this.#totalBytes,
      durationMs: Math.round(nowMs - this.#startMs),
    })
  }
}
