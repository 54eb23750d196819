import type { Backend, BackendOptions, BackendStat, PieceId, RecordBackend, SyncOptions } from './backend.ts'

/** A request as decorators see it. */
export interface BackendRequest {
  readonly operation: 'put' | 'get' | 'set' | 'remove' | 'stat' | 'sync'
  /** Of the value that is handed over. */
  readonly sentBytes: number
  readonly signal?: AbortSignal
}

/** What is done around each request to a backend: limiting, repeating, measuring. Listings pass by: some of their ids
 *  were handed out already when one fails. */
export interface BackendDecorator {
  /** @param run the request; each call makes it once */
  around<T>(request: BackendRequest, run: () => Promise<T>): Promise<T>
}

/** Both kinds of backends, as far as they are alike. */
abstract class Decorated<Inner extends Backend | RecordBackend> {
  protected readonly inner: Inner
  readonly #decorators: readonly BackendDecorator[]

  /** @param decorators the outermost first */
  constructor(inner: Inner, decorators: readonly BackendDecorator[]) {
    this.inner = inner
    this.#decorators = decorators
  }

  get name(): string {
    return this.inner.name
  }

  stat(options: BackendOptions = {}): Promise<BackendStat> {
    return this.request('stat', options, () => this.inner.stat(options))
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.inner[Symbol.asyncDispose]()
  }

  protected request<T>(
    operation: BackendRequest['operation'],
    { signal }: BackendOptions,
    run: () => Promise<T>,
    sentBytes = 0,
  ): Promise<T> {
    const request = { operation, sentBytes, signal }
    return this.#decorators.reduceRight((inner, decorator) => () => decorator.around(request, inner), run)()
  }
}

/** A data backend with decorators around its requests. */
export class DecoratedBackend extends Decorated<Backend> implements Backend {
  put(bytes: Uint8Array, options: BackendOptions = {}): Promise<PieceId> {
    return this.request('put', options, () => this.inner.put(bytes, options), bytes.length)
  }

  get(id: PieceId, options: BackendOptions = {}): Promise<Buffer> {
    return this.request('get', options, () => this.inner.get(id, options))
  }

  remove(ids: readonly PieceId[], options: BackendOptions = {}): Promise<void> {
    return this.request('remove', options, () => this.inner.remove(ids, options))
  }

  list(options?: BackendOptions): AsyncIterable<readonly PieceId[]> {
    return this.inner.list(options)
  }

  sync(options: SyncOptions = {}): Promise<void> {
    return this.request('sync', options, () => this.inner.sync(options))
  }
}

/** A metadata backend with decorators around its requests. */
export class DecoratedRecordBackend extends Decorated<RecordBackend> implements RecordBackend {
  set(key: Uint8Array, bytes: Uint8Array, options: BackendOptions = {}): Promise<void> {
    return this.request('set', options, () => this.inner.set(key, bytes, options), bytes.length)
  }

  get(key: Uint8Array, options: BackendOptions = {}): Promise<Buffer | null> {
    return this.request('get', options, () => this.inner.get(key, options))
  }

  remove(key: Uint8Array, options: BackendOptions = {}): Promise<void> {
    return this.request('remove', options, () => this.inner.remove(key, options))
  }

  list(options?: BackendOptions): AsyncIterable<readonly Buffer[]> {
    return this.inner.list(options)
  }
}
