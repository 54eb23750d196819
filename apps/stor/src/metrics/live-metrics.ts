import type { StatusResult } from '@qsfs/protocol/stor-control'
import type { LabelValues, Metrics } from '@qsfs/telemetry/metrics'
import type { Observation } from '../backend/health.ts'
import type { BackendConfig } from '../config.ts'
import type { LiveStore } from '../daemon/live-store.ts'
import { type StatusNumber, statusNumbers } from './status-numbers.ts'

type Samples = Iterable<readonly [LabelValues, number]>

interface SeenBackend {
  readonly config: BackendConfig
  readonly type: 'data' | 'meta'
  readonly seen: Observation
}

/** zstor's series, by its names, with its labels; null: this backend does not say. */
const BACKEND_LABELS = ['address', 'namespace', 'backend_type']
const ZSTOR_SERIES: readonly (readonly [
  type: 'gauge' | 'counter',
  name: string,
  help: string,
  of: (seen: Observation) => number | null | undefined,
])[] = [
  ['gauge', 'connection_status', '1: it answered the last check', ({ reachable }) => Number(reachable)],
  ['gauge', 'entries', 'Values it holds', ({ stat }) => stat?.valueCount],
  ['gauge', 'data_size_bytes', 'Their bytes', ({ stat }) => stat?.usedBytes],
  ['gauge', 'data_limit_bytes', 'Most it takes of them; 0: no limit', said('data_limits_bytes')],
  ['gauge', 'index_size_bytes', 'Bytes of its index', said('index_size_bytes')],
  ['gauge', 'index_disk_freespace_bytes', 'Free on the disk of its index', said('index_disk_freespace_bytes')],
  ['gauge', 'data_disk_freespace_bytes', 'Free on the disk of its data', dataFreeBytes],
  ['counter', 'index_io_errors', 'Errors of its index disk', said('stats_index_io_errors')],
  ['counter', 'index_faults', 'Faults of its index', said('stats_index_faults')],
  ['counter', 'data_io_errors', 'Errors of its data disk', said('stats_data_io_errors')],
  ['counter', 'data_faults', 'Faults of its data', said('stats_data_faults')],
]

/** What is so now rather than counted: from the status, and from the monitor's last checks. */
export class LiveMetrics {
  readonly #metrics: Metrics
  readonly #live: LiveStore
  #status: StatusResult | null = null

  /** Declares them. */
  constructor(metrics: Metrics, live: LiveStore) {
    this.#metrics = metrics
    this.#live = live
    for (const [type, name, help, of] of ZSTOR_SERIES) {
      metrics.computed(type, name, help, BACKEND_LABELS, () => this.#ofBackends(of))
    }
    const health = '1: up, 0: down; it takes more than one check to change that'
    metrics.computed('gauge', 'qsfs_stor_backend_up', health, ['backend', 'backend_type'], () =>
      this.#backends()
        .filter(({ seen }) => seen.state !== 'unknown')
        .map(({ config, type, seen }) => [[config.name, type], Number(seen.state === 'up')] as const),
    )
    for (const gauge of statusNumbers) this.#declare(gauge)
  }

  /** Prometheus text. Waits for the first listing of objects, two seconds at most. */
  async render(): Promise<string> {
    const asker = { progress: () => undefined, signal: new AbortController().signal }
    this.#status = (await this.#live.handlers.status!({}, asker)) as StatusResult
    return this.#metrics.render()
  }

  #declare({ type, name, help, of }: StatusNumber): void {
    this.#metrics.computed(type, `qsfs_stor_${name}`, help, [], () => {
      const value = this.#status === null ? null : of(this.#status)
      return value === null || value === undefined ? [] : [[[], value]]
    })
  }

  #ofBackends(of: (seen: Observation) => number | null | undefined): Samples {
    return this.#backends().flatMap(({ config: { address, namespace }, type, seen }) => {
      const value = of(seen)
      return value === null || value === undefined ? [] : [[[address, namespace, type], value] as const]
    })
  }

  #backends(): SeenBackend[] {
    const { fleet } = this.#live.runtime
    return [
      ...fleet.data.map(({ config }) => ({ config, type: 'data' as const, seen: fleet.observeData(config.name) })),
      ...fleet.meta.map(({ config }) => ({ config, type: 'meta' as const, seen: fleet.observeMeta(config.name) })),
    ]
  }
}

function said(key: string): (seen: Observation) => number | undefined {
  return ({ stat }) => stat?.said?.get(key)
}

/** A directory says what the disk under it has. */
function dataFreeBytes({ stat }: Observation): number | null | undefined {
  return stat?.said === undefined ? stat?.freeBytes : stat.said.get('data_disk_freespace_bytes')
}
