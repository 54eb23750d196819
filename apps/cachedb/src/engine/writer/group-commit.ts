/** Shares one run of an action among all who asked for it before it began: the running one never counts for later callers. */
export class GroupCommit {
  readonly #action: () => Promise<void>
  #running: Promise<void> = Promise.resolve()
  #next: Promise<void> | null = null

  constructor(action: () => Promise<void>) {
    this.#action = action
  }

  /** Settles with the first run that begins after this call. */
  run(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = null
      const run = this.#action()
      // The next run begins when this one ended, however it ended; its own callers hear of the failure.
      this.#running = run.catch(() => {})
      return run
    })
    return this.#next
  }
}
