import type { BackendOptions, BackendStat, RecordBackend } from '../backend/backend.ts'
import { StorError } from '../errors.ts'

/** The superblock's key: whole, the same bytes on every metadata backend. */
export const SUPERBLOCK_KEY = Buffer.from('s')

/** A metadata backend as a member of the store. One that came back empty is `blank`: it takes new records, but what it
 *  does not hold means nothing, so to readers it is silent, until it was filled again. */
export class MemberBackend implements RecordBackend {
  readonly #inner: RecordBackend
  readonly #prefix: Buffer
  blank = false
  /** It may lack records, or hold damaged ones; to readers it is a member all the same. Of a start nothing is known. */
  lags = true

  /** @param prefix what the store's keys begin with in a namespace that is shared */
  constructor(inner: RecordBackend, prefix: string) {
    this.#inner = inner
    this.#prefix = Buffer.from(prefix === '' ? '' : `${prefix}/`)
  }

  get name(): string {
    return this.#inner.name
  }

  set(key: Uint8Array, bytes: Uint8Array, options?: BackendOptions): Promise<void> {
    return this.#inner.set(this.#keyOf(key), bytes, options)
  }

  async get(key: Uint8Array, options?: BackendOptions): Promise<Buffer | null> {
    this.#assertFilled()
    const value = await this.#inner.get(this.#keyOf(key), options)
    // «Nothing» counts only from a member that holds its store's superblock: its disk may have been exchanged just now.
    if (value === null) this.blank = (await this.peek(SUPERBLOCK_KEY, options)) === null
    this.#assertFilled()
    return value
  }

  /** As `get`, also from one that is blank. */
  peek(key: Uint8Array, options?: BackendOptions): Promise<Buffer | null> {
    return this.#inner.get(this.#keyOf(key), options)
  }

  remove(key: Uint8Array, options?: BackendOptions): Promise<void> {
    return this.#inner.remove(this.#keyOf(key), options)
  }

  async *list(options?: BackendOptions): AsyncIterable<readonly Buffer[]> {
    this.#assertFilled()
    const length = this.#prefix.length
    let isFilled = false
    for await (const keys of this.#inner.list(options)) {
      const ours = keys.filter(key => key.subarray(0, length).equals(this.#prefix)).map(key => key.subarray(length))
      isFilled ||= ours.some(key => key.equals(SUPERBLOCK_KEY))
      yield ours
    }
    // As with «nothing»: a listing without the superblock is that of an exchanged disk, and lacks the records too.
    if (!isFilled) this.blank = true
    this.#assertFilled()
  }

  /** Whether it holds nothing under the store's prefix: what a backend must be like to become a member. */
  async isEmpty(options?: BackendOptions): Promise<boolean> {
    for await (const keys of this.#inner.list(options)) {
      if (keys.some(key => key.subarray(0, this.#prefix.length).equals(this.#prefix))) return false
    }
    return true
  }

  stat(options?: BackendOptions): Promise<BackendStat> {
    return this.#inner.stat(options)
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]()
  }

  #keyOf(key: Uint8Array): Buffer {
    return Buffer.concat([this.#prefix, key])
  }

  #assertFilled(): void {
    if (this.blank) throw new StorError('unavailable', `${this.name} came back empty and is being filled`)
  }
}
