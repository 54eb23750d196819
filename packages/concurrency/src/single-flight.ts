/** Callers that ask for the same thing at the same time share one attempt and its result or failure. */
export class SingleFlight<K, T> {
  readonly #flights = new Map<K, Promise<T>>()

  /** Keys under way. */
  get size(): number {
    return this.#flights.size
  }

  isRunning(key: K): boolean {
    return this.#flights.has(key)
  }

  /** Joins the attempt under way for `key`, or starts one by calling `action`. */
  run(key: K, action: () => Promise<T>): Promise<T> {
    const running = this.#flights.get(key)
    if (running !== undefined) return running
    const flight = Promise.withResolvers<T>()
    // In the map before the action starts: it may come back here for the same key, or fail before its first await.
    this.#flights.set(key, flight.promise)
    const land = () => this.#flights.delete(key)
    attempt(action).then(
      value => {
        land()
        flight.resolve(value)
      },
      error => {
        land()
        flight.reject(error)
      },
    )
    return flight.promise
  }
}

async function attempt<T>(action: () => Promise<T>): Promise<T> {
  return action()
}
