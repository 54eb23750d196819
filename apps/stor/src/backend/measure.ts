import type { Clock } from '@qsfs/concurrency/clock'
import type { Counter, Histogram, Metrics } from '@qsfs/telemetry/metrics'
import { StorError } from '../errors.ts'
import type { Backend, BackendOptions, BackendStat, PieceId, RecordBackend, SyncOptions } from './backend.ts'
import type { Vitals } from './vitals.ts'

const BUCKETS_SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]

/** The numbers of all backends; declared once per process. */
export class BackendMetrics {
  readonly requests: Counter
  readonly bytes: Counter
  readonly seconds: Histogram

  constructor(metrics: Metrics) {
    const labels = ['backend', 'backend_type', 'operation']
    const requests = 'Requests to backends by how they ended: ok, or the reason they failed for'
    this.requests = metrics.counter('qsfs_stor_backend_requests_total', requests, [...labels, 'outcome'])
    this.bytes = metrics.counter('qsfs_stor_backend_bytes_total', 'Bytes of pieces and records moved', labels)
    const seconds = 'Time to the answer, with waiting and attempts again'
    this.seconds = metrics.histogram('qsfs_stor_backend_seconds', seconds, BUCKETS_SECONDS, labels)
  }
}

/** Counts and times the requests to one backend, and tells its vitals what failed. Wrong, missing and slow are told apart: `outcome` is the error's reason. */
class Meter {
  readonly #labels: readonly [backend: string, type: 'data' | 'meta']
  readonly #clock: Clock
  readonly #metrics: BackendMetrics
  readonly #vitals: Vitals

  constructor(backend: string, type: 'data' | 'meta', clock: Clock, metrics: BackendMetrics, vitals: Vitals) {
    this.#labels = [backend, type]
    this.#clock = clock
    this.#metrics = metrics
    this.#vitals = vitals
  }

  async request<T>(operation: string, action: () => Promise<T>): Promise<T> {
    const startedMs = this.#clock.monotonicMs()
    let outcome = 'ok'
    try {
      return await action()
    } catch (error) {
      outcome = error instanceof StorError ? error.reason : 'aborted'
      if (error instanceof StorError) this.#vitals.failed(error)
      throw error
    } finally {
      this.#metrics.requests.add(1, [...this.#labels, operation, outcome])
      this.#metrics.seconds.observe((this.#clock.monotonicMs() - startedMs) / 1000, [...this.#labels, operation])
    }
  }

  moved(operation: string, byteCount: number): void {
    this.#metrics.bytes.add(byteCount, [...this.#labels, operation])
  }
}

/** Counts and times each request of a data backend. */
export class MeasuredBackend implements Backend {
  readonly #inner: Backend
  readonly #meter: Meter

  constructor(inner: Backend, clock: Clock, metrics: BackendMetrics, vitals: Vitals) {
    this.#inner = inner
    this.#meter = new Meter(inner.name, 'data', clock, metrics, vitals)
  }

  get name(): string {
    return this.#inner.name
  }

  async put(bytes: Uint8Array, options?: BackendOptions): Promise<PieceId> {
    const id = await this.#meter.request('put', () => this.#inner.put(bytes, options))
    this.#meter.moved('put', bytes.length)
    return id
  }

  async get(id: PieceId, options?: BackendOptions): Promise<Buffer> {
    const bytes = await this.#meter.request('get', () => this.#inner.get(id, options))
    this.#meter.moved('get', bytes.length)
    return bytes
  }

  remove(ids: readonly PieceId[], options?: BackendOptions): Promise<void> {
    return this.#meter.request('remove', () => this.#inner.remove(ids, options))
  }

  list(options?: BackendOptions): AsyncIterable<readonly PieceId[]> {
    return this.#inner.list(options)
  }

  stat(options?: BackendOptions): Promise<BackendStat> {
    return this.#meter.request('stat', () => this.#inner.stat(options))
  }

  sync(options?: SyncOptions): Promise<void> {
    return this.#meter.request('sync', () => this.#inner.sync(options))
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]()
  }
}

/** Counts and times each request of a metadata backend. */
export class MeasuredRecordBackend implements RecordBackend {
  readonly #inner: RecordBackend
  readonly #meter: Meter

  constructor(inner: RecordBackend, clock: Clock, metrics: BackendMetrics, vitals: Vitals) {
    this.#inner = inner
    this.#meter = new Meter(inner.name, 'meta', clock, metrics, vitals)
  }

  get name(): string {
    return this.#inner.name
  }

  async set(key: Uint8Array, bytes: Uint8Array, options?: BackendOptions): Promise<void> {
    await this.#meter.request('set', () => this.#inner.set(key, bytes, options))
    this.#meter.moved('set', bytes.length)
  }

  async get(key: Uint8Array, options?: BackendOptions): Promise<Buffer | null> {
    const bytes = await this.#meter.request('get', () => this.#inner.get(key, options))
    this.#meter.moved('get', bytes?.length ?? 0)
    return bytes
  }

  remove(key: Uint8Array, options?: BackendOptions): Promise<void> {
    return this.#meter.request('remove', () => this.#inner.remove(key, options))
  }

  list(options?: BackendOptions): AsyncIterable<readonly Buffer[]> {
    return this.#inner.list(options)
  }

  stat(options?: BackendOptions): Promise<BackendStat> {
    return this.#meter.request('stat', () => this.#inner.stat(options))
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#inner[Symbol.asyncDispose]()
  }
}
