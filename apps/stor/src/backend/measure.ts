import type { Clock } from '@qsfs/concurrency/clock'
import type { Counter, Histogram, Metrics } from '@qsfs/telemetry/metrics'
import { StorError } from '../errors.ts'
import type { BackendDecorator, BackendRequest } from './decorated-backend.ts'
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

/** Counts and times the requests to one backend, and tells its vitals what failed. Wrong, missing and slow are told apart:
 *  `outcome` is the error's reason. */
export class Meter implements BackendDecorator {
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

  async around<T>({ operation, sentBytes }: BackendRequest, run: () => Promise<T>): Promise<T> {
    const startedMs = this.#clock.monotonicMs()
    let outcome = 'ok'
    try {
      const answer = await run()
      const movedBytes = Buffer.isBuffer(answer) ? answer.length : sentBytes
      if (movedBytes > 0) this.#metrics.bytes.add(movedBytes, [...this.#labels, operation])
      return answer
    } catch (error) {
      outcome = error instanceof StorError ? error.reason : 'aborted'
      if (error instanceof StorError) this.#vitals.failed(error)
      throw error
    } finally {
      this.#metrics.requests.add(1, [...this.#labels, operation, outcome])
      this.#metrics.seconds.observe((this.#clock.monotonicMs() - startedMs) / 1000, [...this.#labels, operation])
    }
  }
}
