import { Semaphore } from '@qsfs/concurrency/semaphore'
import type { Backend, BackendOptions, BackendStat, PieceId, SyncOptions } from './backend.ts'

export interface BackendLimits {
  /** Bytes of puts sent and not yet answered. */
  readonly putBytesMax: number
  /** Reads asked and not yet answered. */
  readonly readsMax: number
}

/** Bounds what one backend is asked at a time; more waits here, in order. */
export class LimitedBackend implements Backend {
  readonly #inner: Backend
  readonly #putBytes: Semaphore
  readonly #reads: Semaphore

  constructor(inner: Backend, { putBytesMax, readsMax }: BackendLimits) {
    this.#inner = inner
    this.#putBytes = new Semaphore(putBytesMax)
    this.#reads = new Semaphore(readsMax)
  }

  get name(): string {
    return this.#inner.name
  }

  async put(bytes: Uint8Array, options: BackendOptions = {}): Promise<PieceId> {
    using _ = await this.#putBytes.acquire(Math.max(1, bytes.length), options)
    return await this.#inner.put(bytes, options)
  }

  async get(id: PieceId, options: BackendOptions = {}): Promise<Buffer> {
    using _ = await this.#reads.acquire(1, options)
    return await this.#inner.get(id, options)
  }

  remove(ids: readonly PieceId[], options?: BackendOptions): Promise<void> {
    return this.#inner.remove(ids, options)
  }

  list(options?: BackendOptions): AsyncIterable<readonly PieceId[]> {
    return this.#inner.list(options)
  }

  stat(options?: BackendOptions): Promise<BackendStat> {
    return this.#inner.stat(options)
  }

  sync(options?: SyncOptions): Promise<void> {
    return this.#inner.sync(options)
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]()
  }
}
