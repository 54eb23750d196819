/** Long work in slices: who has more to do joins, and each turn of the event loop runs one, first come first served. Whatever
 *  else the process has to do comes between two slices. Holds no more than its users put in: each at most once at a time. */
export class RunQueue {
  readonly #slices: (() => void)[] = []
  #isScheduled = false

  join(slice: () => void): void {
    this.#slices.push(slice)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#isScheduled || this.#slices.length === 0) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      const slice = this.#slices.shift()!
      this.#schedule()
      slice()
    })
  }
}
