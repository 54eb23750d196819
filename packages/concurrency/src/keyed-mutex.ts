/** One at a time per key, in the order of the calls; different keys do not wait for each other. */
export class KeyedMutex<K> {
  readonly #tails = new Map<K, Promise<void>>()

  /** Keys that are held or waited for. */
  get size(): number {
    return this.#tails.size
  }

  /** Runs `action` when all earlier calls for `key` have ended, whatever became of them. */
  async run<T>(key: K, action: () => T | Promise<T>): Promise<T> {
    const before = this.#tails.get(key)
    const done = Promise.withResolvers<void>()
    this.#tails.set(key, done.promise)
    try {
      await before
      return await action()
    } finally {
      if (this.#tails.get(key) === done.promise) this.#tails.delete(key)
      done.resolve()
    }
  }
}
