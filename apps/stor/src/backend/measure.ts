import type { Clock } from '@qsfs/concurrency/clock'
import type { Counter, Histogram, Metrics } from '@qsfs/telemetry/metrics'
import { StorError } from '../errors.ts'
import type { Backend, BackendOptions, BackendStat, PieceId, SyncOptions } from './backend.ts'

/** The numbers of all data backends; declared once per process. */
export class BackendMetrics {
  readonly requests: Counter
  readonly bytes: Counter
  readonly seconds: Histogram

  constructor(metrics: Metrics) {
    this.requests = metrics.counter('stor_backend_requests_total', 'Requests by how they ended', [
      'backend',
      'operation',
      'outcome',
    ])
    this.bytes = metrics.counter('stor_backend_bytes_total', 'Bytes of pieces', ['backend', 'operation'])
    const buckets = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]
    this.seconds = metrics.histogram('stor_backend_seconds', 'Time to the answer', buckets, ['backend', 'operation'])
  }
}

/** Counts and times each request of a backend. Wrong, missing and slow are told apart: `outcome` is the error's reason. */
export class MeasuredBackend implements Backend {
  readonly #inner: Backend
  readonly #clock: Clock
  readonly #metrics: BackendMetrics

  constructor(inner: Backend, clock: Clock, metrics: BackendMetrics) {
    this.#inner = inner
    this.#clock = clock
    this.#metrics = metrics
  }

  get name(): string {
    return this.#inner.name
  }

  async put(bytes: Uint8Array, options?: BackendOptions): Promise<PieceId> {
    const id = await this.#measure('put', () => this.#inner.put(bytes, options))
    this.#metrics.bytes.add(bytes.length, [this.name, 'put'])
    return id
  }

  async get(id: PieceId, options?: BackendOptions): Promise<Buffer> {
    const bytes = await this.#measure('get', () => this.#inner.get(id, options))
    this.#metrics.bytes.add(bytes.length, [this.name, 'get'])
    return bytes
  }

  remove(ids: readonly PieceId[], options?: BackendOptions): Promise<void> {
    return this.#measure('remove', () => this.#inner.remove(ids, options))
  }

  list(options?: BackendOptions): AsyncIterable<readonly PieceId[]> {
    return this.#inner.list(options)
  }

  stat(options?: BackendOptions): Promise<BackendStat> {
    return this.#measure('stat', () => this.#inner.stat(options))
  }

  sync(options?: SyncOptions): Promise<void> {
    return this.#measure('sync', () => this.#inner.sync(options))
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]()
  }

  async #measure<T>(operation: string, action: () => Promise<T>): Promise<T> {
    const startedMs = this.#clock.monotonicMs()
    let outcome = 'ok'
    try {
      return await action()
    } catch (error) {
      outcome = error instanceof StorError ? error.reason : 'aborted'
      throw error
    } finally {
      this.#metrics.requests.add(1, [this.name, operation, outcome])
      this.#metrics.seconds.observe((this.#clock.monotonicMs() - startedMs) / 1000, [this.name, operation])
    }
  }
}
