import { Semaphore } from './semaphore.ts'

export interface BoundedQueueLimits<T> {
  /** The sum of the weights that fit; one item heavier than this fits when the queue is empty. */
  readonly capacityMax: number
  /** What an item counts, 1 unless told: bytes where items vary in size. */
  readonly weightOf?: (item: T) => number
}

/** First in, first out, between producers that wait for room and consumers that wait for items. */
export class BoundedQueue<T> implements AsyncIterable<T> {
  readonly #room: Semaphore
  readonly #weightOf: (item: T) => number
  readonly #items: { readonly item: T; readonly release: () => void }[] = []
  readonly #takers: ((item: IteratorResult<T, undefined>) => void)[] = []
  #ended = false

  constructor({ capacityMax, weightOf = () => 1 }: BoundedQueueLimits<T>) {
    this.#room = new Semaphore(capacityMax)
    this.#weightOf = weightOf
  }

  get length(): number {
    return this.#items.length
  }

  /** Waits for room, then adds.
   *  @throws Error when the queue has ended; the signal's reason when aborted while waiting */
  async push(item: T, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const permit = await this.#room.acquire(this.#weightOf(item), options)
    if (this.#ended) {
      permit.release()
      throw new Error('the queue has ended')
    }
    this.#add(item, permit.release)
  }

  /** @returns false when there is no room now, or the queue has ended */
  tryPush(item: T): boolean {
    if (this.#ended) return false
    const permit = this.#room.tryAcquire(this.#weightOf(item))
    if (permit === null) return false
    this.#add(item, permit.release)
    return true
  }

  /** The next item; undefined when the queue has ended and is empty. */
  async take(): Promise<T | undefined> {
    return (await this.#next()).value
  }

  /** No more items come; those inside are still taken. */
  end(): void {
    this.#ended = true
    for (const give of this.#takers.splice(0)) give({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return { next: () => this.#next() }
  }

  #add(item: T, release: () => void): void {
    const give = this.#takers.shift()
    if (give === undefined) {
      this.#items.push({ item, release })
      return
    }
    release()
    give({ done: false, value: item })
  }

  #next(): Promise<IteratorResult<T, undefined>> {
    const first = this.#items.shift()
    if (first !== undefined) {
      first.release()
      return Promise.resolve({ done: false, value: first.item })
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise(resolve => this.#takers.push(resolve))
  }
}
