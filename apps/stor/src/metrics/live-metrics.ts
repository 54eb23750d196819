import type { StatusResult } from '@qsfs/protocol/stor-control'
import type { LabelValues, Metrics } from '@qsfs/telemetry/metrics'
import type { SeenBackend } from '../backend/fleet.ts'
import type { BackendConfig } from '../config.ts'
import type { LiveStore } from '../daemon/live-store.ts'
import { type StatusNumber, statusNumbers } from './status-numbers.ts'

type Samples = Iterable<readonly [LabelValues, number]>

interface LabelledBackend {
  readonly config: BackendConfig
  readonly type: 'data' | 'meta'
  readonly seen: SeenBackend
}

/** Null, undefined: this backend does not say. */
type BackendNumber = (seen: SeenBackend) => number | null | undefined
type Series = readonly [type: 'gauge' | 'counter', name: string, help: string, of: BackendNumber]

const OWN_SERIES: readonly Series[] = [
  ['gauge', 'up', '1: up, 0: down; it takes more than one check to change that', upOf],
  ['gauge', 'state_timestamp_seconds', 'Since when it is up, or down', ({ sinceMs }) => sinceMs / 1000],
  ['counter', 'falls_total', 'How often it was called down', ({ fallCount }) => fallCount],
  ['gauge', 'full', '1: it takes no new shards for want of room', ({ isFull }) => Number(isFull)],
  ['gauge', 'check_seconds', 'Median of how long its last checks took', ({ latencyMs }) => secondsOf(latencyMs)],
]
/** zstor's series, by its names, with its labels. */
const BACKEND_LABELS = ['address', 'namespace', 'backend_type']
const ZSTOR_SERIES: readonly Series[] = [
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
      metrics.computed(type, name, help, BACKEND_LABELS, () =>
        this.#ofBackends(of, ({ config: { address, namespace }, type: use }) => [address, namespace, use]),
      )
    }
    for (const [type, name, help, of] of OWN_SERIES) {
      metrics.computed(type, `qsfs_stor_backend_${name}`, help, ['backend', 'backend_type'], () =>
        this.#ofBackends(of, ({ config, type: use }) => [config.name, use]),
      )
    }
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

  #ofBackends(of: BackendNumber, labelsOf: (backend: LabelledBackend) => LabelValues): Samples {
    return this.#backends().flatMap(backend => {
      const value = of(backend.seen)
      return value === null || value === undefined ? [] : [[labelsOf(backend), value] as const]
    })
  }

  #backends(): LabelledBackend[] {
    const { fleet } = this.#live.runtime
    return [
      ...fleet.data.map(place => ({ config: place.config, type: 'data' as const, seen: fleet.seen(place, 'data') })),
      ...fleet.meta.map(place => ({ config: place.config, type: 'meta' as const, seen: fleet.seen(place, 'meta') })),
    ]
  }
}

function said(key: string): (seen: SeenBackend) => number | undefined {
  return ({ stat }) => stat?.said?.get(key)
}

/** A directory says what the disk under it has. */
function dataFreeBytes({ stat }: SeenBackend): number | null | undefined {
  return stat?.said === undefined ? stat?.freeBytes : stat.said.get('data_disk_freespace_bytes')
}

function upOf({ state }: SeenBackend): number | null {
  return state === 'unknown' ? null : Number(state === 'up')
}

function secondsOf(ms: number | null): number | null {
  return ms === null ? null : ms / 1000
}
