import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import { retry } from '@qsfs/concurrency/retry'
import { StorError } from '../errors.ts'
import type { Backend, BackendOptions, BackendStat, PieceId, RecordBackend, SyncOptions } from './backend.ts'

/** Repeats what a lost connection interrupted, a few times and not for long: whoever asks has other backends. */
export class Retrier {
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #attemptsMax: number

  constructor(clock: Clock, random: RandomSource, { attemptsMax }: { readonly attemptsMax: number }) {
    this.#clock = clock
    this.#random = random
    this.#attemptsMax = attemptsMax
  }

  run<T>(attempt: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return retry(this.#clock, attempt, {
      firstMs: 50,
      maxMs: 1000,
      random: this.#random,
      attemptsMax: this.#attemptsMax,
      isWorthRetrying: error => error instanceof StorError && error.reason === 'unavailable',
      ...(signal === undefined ? {} : { signal }),
    })
  }
}

/** A put is repeated too: the piece of a lost answer becomes an orphan, and the shard gets another run of ids. */
export class RetryingBackend implements Backend {
  readonly #inner: Backend
  readonly #retrier: Retrier

  constructor(inner: Backend, retrier: Retrier) {
    this.#inner = inner
    this.#retrier = retrier
  }

  get name(): string {
    return this.#inner.name
  }

  put(bytes: Uint8Array, options: BackendOptions = {}): Promise<PieceId> {
    return this.#retrier.run(() => this.#inner.put(bytes, options), options.signal)
  }

  get(id: PieceId, options: BackendOptions = {}): Promise<Buffer> {
    return this.#retrier.run(() => this.#inner.get(id, options), options.signal)
  }

  remove(ids: readonly PieceId[], options: BackendOptions = {}): Promise<void> {
    return this.#retrier.run(() => this.#inner.remove(ids, options), options.signal)
  }

  /** Not repeated: some ids were handed out already. */
  list(options?: BackendOptions): AsyncIterable<readonly PieceId[]> {
    return this.#inner.list(options)
  }

  stat(options: BackendOptions = {}): Promise<BackendStat> {
    return this.#retrier.run(() => this.#inner.stat(options), options.signal)
  }

  sync(options: SyncOptions = {}): Promise<void> {
    return this.#retrier.run(() => this.#inner.sync(options), options.signal)
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]()
  }
}

export class RetryingRecordBackend implements RecordBackend {
  readonly #inner: RecordBackend
  readonly #retrier: Retrier

  constructor(inner: RecordBackend, retrier: Retrier) {
    this.#inner = inner
    this.#retrier = retrier
  }

  get name(): string {
    return this.#inner.name
  }

  set(key: Uint8Array, bytes: Uint8Array, options: BackendOptions = {}): Promise<void> {
    return this.#retrier.run(() => this.#inner.set(key, bytes, options), options.signal)
  }

  get(key: Uint8Array, options: BackendOptions = {}): Promise<Buffer | null> {
    return this.#retrier.run(() => this.#inner.get(key, options), options.signal)
  }

  remove(key: Uint8Array, options: BackendOptions = {}): Promise<void> {
    return this.#retrier.run(() => this.#inner.remove(key, options), options.signal)
  }

  list(options?: BackendOptions): AsyncIterable<readonly Buffer[]> {
    return this.#inner.list(options)
  }

  stat(options: BackendOptions = {}): Promise<BackendStat> {
    return this.#retrier.run(() => this.#inner.stat(options), options.signal)
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]()
  }
}
