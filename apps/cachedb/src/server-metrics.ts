import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { LabelValues } from '@qsfs/telemetry/metrics'
import { commandNames } from './commands/table.ts'
import { Survey } from './engine/metrics/survey.ts'
import type { ServerState } from './session.ts'

type Samples = Iterable<readonly [LabelValues, number]>

/** A survey walks over all segments: one serves all metrics of an answer. */
const surveyMs = 50
const delayResolutionMs = 20
const quantiles: readonly (readonly [label: string, percentile: number])[] = [
  ['0.5', 50],
  ['0.99', 99],
  ['1', 100],
]

/** Declares what Prometheus is told of a server and counts by itself elsewhere. The end of it is told by disposing. */
export function declareServerMetrics({ namespaces, points, stats, clock }: ServerState): Disposable {
  const { metrics } = stats
  const { room, values } = namespaces.context
  const counter = (name: string, help: string, labels: readonly string[], samples: () => Samples) =>
    metrics.computed('counter', `qsfs_cachedb_${name}`, help, labels, samples)
  const gauge = (name: string, help: string, value: () => number) =>
    metrics.computed('gauge', `qsfs_cachedb_${name}`, help, [], () => [[[], value()]])

  let survey = Survey.of([], clock.monotonicMs())
  let surveyedMs = Number.NEGATIVE_INFINITY
  const now = (): Survey => {
    if (clock.monotonicMs() - surveyedMs < surveyMs) return survey
    surveyedMs = clock.monotonicMs()
    survey = Survey.of(namespaces.opened(), surveyedMs)
    return survey
  }

  counter('commands_total', 'Commands executed, by name and result: ok, error', ['command', 'result'], () =>
    commandNames.flatMap((name, row) => {
      const executed = stats.executed[row]!
      const refused = stats.refused[row]!
      if (executed === 0) return []
      return [
        [[name, 'ok'], executed - refused],
        [[name, 'error'], refused],
      ] as const
    }),
  )
  counter('commands_unknown_total', 'Requests that name no command', [], () => [[[], stats.commandsFailed]])
  counter('commands_unauthorized_total', 'Commands refused for want of admin rights', [], () => [
    [[], stats.commandsUnauthorized],
  ])
  gauge('clients', 'Connections open', () => stats.clients())
  counter('clients_total', 'Connections accepted', [], () => [[[], stats.clientsLifetime()]])
  counter('clients_dropped_total', 'Connections that were closed because the client stood still', [], () => [
    [[], stats.clientsDropped],
  ])
  counter('network_bytes_total', 'Bytes from and to clients', ['direction'], () => {
    const { bytesRead, bytesWritten } = stats.traffic()
    return directions(bytesRead, bytesWritten)
  })
  counter('disk_bytes_total', 'Bytes of data files', ['direction'], () =>
    directions(stats.disk.bytesRead, stats.disk.bytesWritten),
  )
  counter('disk_errors_total', 'Calls on data files that failed', ['operation'], () => [
    [['read'], stats.disk.readsFailed],
    [['write'], stats.disk.writesFailed],
    [['sync'], stats.disk.syncsFailed],
  ])

  const byState = (of: (sum: { readonly count: number; readonly bytes: number }) => number) => () =>
    [...now().byState].map(([state, sum]) => [[state], of(sum)] as const)
  metrics.computed(
    'gauge',
    'qsfs_cachedb_segments',
    'Segments',
    ['state'],
    byState(({ count }) => count),
  )
  metrics.computed(
    'gauge',
    'qsfs_cachedb_segment_bytes',
    'Bytes of segments',
    ['state'],
    byState(({ bytes }) => bytes),
  )
  gauge('live_bytes', 'Bytes of entries whose values live, in all segments', () => now().liveBytes)
  gauge('segments_waiting', 'Closed segments that the store does not have yet', () => now().waiting)
  gauge('segments_waiting_bytes', 'Their bytes', () => now().waitingBytes)
  gauge('segments_waiting_seconds', 'How long the oldest of them has waited', () => now().waitedMs / 1000)
  gauge('segments_lost', 'Closed segments whose file is missing', () => now().lost)
  gauge('namespaces', 'Namespaces that are served', () => now().namespaces)
  gauge('namespaces_read_only', 'Namespaces that take no writes because a disk failed them', () => now().readOnly)
  gauge('namespaces_waiting', 'Namespaces that cannot be opened yet', () => namespaces.waitingCount)
  gauge('entries', 'Live keys', () => now().entries)
  gauge('data_bytes', 'Bytes of live values', () => now().dataBytes)
  gauge('keydir_bytes', 'Memory of the tables of keys', () => now().keydirBytes)
  gauge('cache_limit_bytes', 'Limit for data segments on the local disk; 0: none', () => room.limitBytes)
  gauge('cache_used_bytes', 'Data segments on the local disk', () => room.usedBytes)
  gauge('disk_free_bytes', 'Free on the disk of the data directory', () =>
    namespaces.context.storage.freeBytes(namespaces.options.dataDirectory),
  )
  gauge('restores_waiting', 'Restores that wait for room', () => room.restoresWaiting)
  gauge('value_cache_bytes', 'Memory of values read lately', () => values.bytes)
  gauge('point_published', 'Number of the last recovery point published', () => points.status.published)
  gauge('point_published_timestamp_seconds', 'When it was cut', () => points.status.publishedSeconds)
  gauge('resident_bytes', 'Memory of the process', () => stats.residentBytes())
  gauge('start_time_seconds', 'When the server started', () => stats.bootSeconds)

  const delay = monitorEventLoopDelay({ resolution: delayResolutionMs })
  delay.enable()
  const help = 'How late the event loop was, since it was last asked for'
  metrics.computed('gauge', 'qsfs_cachedb_event_loop_delay_seconds', help, ['quantile'], () => {
    const late = quantiles.map(([label, percentile]) => [[label], lateness(delay.percentile(percentile))] as const)
    delay.reset()
    return late
  })
  return { [Symbol.dispose]: () => void delay.disable() }
}

function directions(bytesIn: number, bytesOut: number): Samples {
  return [
    [['in'], bytesIn],
    [['out'], bytesOut],
  ]
}

/** The histogram counts the pause that was asked for, too. */
function lateness(nanoseconds: number): number {
  return Math.max(0, nanoseconds / 1e9 - delayResolutionMs / 1000)
}
