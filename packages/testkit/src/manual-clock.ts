/** A clock that stands still until the test moves it. It has the shape of `Clock` of @qsfs/concurrency. */
export class ManualClock {
  #nowMs: number
  #elapsedMs = 0
  readonly #timers = new Set<{ readonly dueMs: number; readonly action: () => void }>()

  constructor(startMs = Date.UTC(2030, 0, 1)) {
    this.#nowMs = startMs
  }

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#elapsedMs
  }

  schedule(delayMs: number, action: () => void): () => void {
    const timer = { dueMs: this.#elapsedMs + Math.max(0, delayMs), action }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** Timers that wait. */
  get pendingCount(): number {
    return this.#timers.size
  }

  /** Lets time pass, running what falls due in order; between two timers the promises that are ready go on. */
  async advance(milliseconds: number): Promise<void> {
    const endMs = this.#elapsedMs + milliseconds
    await settle()
    for (;;) {
      const next = [...this.#timers].filter(timer => timer.dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs)[0]
      if (next === undefined) break
      this.#timers.delete(next)
      this.#moveTo(next.dueMs)
      next.action()
      await settle()
    }
    this.#moveTo(endMs)
  }

  #moveTo(elapsedMs: number): void {
    this.#nowMs += elapsedMs - this.#elapsedMs
    this.#elapsedMs = elapsedMs
  }
}

/** One turn of the event loop: every promise that is ready has gone on. */
function settle(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
