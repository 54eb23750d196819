import type { StatusResult } from '@qsfs/protocol/stor-control'

/** One number of the status. Null or undefined: it is not known now, and not told. */
export interface StatusNumber {
  readonly type: 'gauge' | 'counter'
  readonly name: string
  readonly help: string
  readonly of: (status: StatusResult) => number | null | undefined
}

/** What `status` says of the store as a whole, for Prometheus. */
export const statusNumbers: readonly StatusNumber[] = [
  gauge('writable', '1: a new object can be stored now', ({ writable }) => Number(writable)),
  gauge('objects', 'Objects stored', ({ objectCount }) => objectCount),
  gauge('objects_thin', 'Objects on fewer than n locations', ({ thinObjectCount }) => thinObjectCount),
  gauge('margin_locations', 'Data locations that may still be lost', ({ marginLocations }) => marginLocations),
  gauge('metadata_filling', 'Metadata backends being filled', ({ fillingBackends }) => fillingBackends.length),
  gauge('metadata_lagging', 'Metadata backends that may lack records', ({ laggingBackends }) => laggingBackends.length),
  gauge('other_daemon', '1: another stor works on this store', ({ otherDaemonSeenMs }) =>
    Number(otherDaemonSeenMs !== null),
  ),
  gauge('stores_running', 'Stores under way or waiting', ({ storesRunning }) => storesRunning),
  gauge('retrieves_running', 'Retrieves under way or waiting', ({ retrievesRunning }) => retrievesRunning),
  gauge('jobs_waiting', 'Stores nobody waits for, not begun', ({ jobs }) => jobs?.waitingCount),
  gauge('jobs_running', 'Stores nobody waits for, under way', ({ jobs }) => jobs?.runningCount),
  gauge('jobs_failing', 'Stores nobody waits for, failed so far', ({ jobs }) => jobs?.failingCount),
  gauge('repair_pending', 'Objects to be repaired', ({ repair }) => repair?.pendingCount),
  gauge('repair_running', 'Objects being repaired', ({ repair }) => repair?.runningCount),
  gauge('repair_thinnest_margin', 'Locations the thinnest survives', ({ repair }) => repair?.thinnestMargin),
  gauge('repair_eta_seconds', 'Until all are repaired', ({ repair }) => seconds(repair?.etaMs)),
  counter('repair_shards_rebuilt_total', 'Shards rebuilt', ({ repair }) => repair?.rebuiltShardCount),
  counter('repair_failures_total', 'Attempts at repair that failed', ({ repair }) => repair?.failedCount),
  counter('repair_reports_total', 'Bad shards that readers reported', ({ repair }) => repair?.reportedCount),
  counter('repair_bytes_total', 'Bytes moved by repair and scrub', ({ repair }) => repair?.movedBytes),
  counter('repair_cpu_seconds_total', 'Time of coding and checking', ({ repair }) => seconds(repair?.cpuMs)),
  gauge('repair_done', 'Objects done since nothing was pending', ({ repair }) => repair?.doneCount),
  gauge('scrub_done_ratio', 'Done of this round, 0 to 1', ({ repair }) => repair?.scrub?.doneRatio),
  gauge('scrub_end_timestamp_seconds', 'When this round ends', ({ repair }) => seconds(repair?.scrub?.endsMs)),
  counter('shards_verified_total', 'Shards read and checked', ({ repair }) => repair?.scrub?.verifiedShardCount),
  counter('shards_bad_total', 'Shards found bad', ({ repair }) => repair?.scrub?.badShardCount),
  counter('orphans_removed_total', 'Pieces no record named, removed', ({ repair }) => repair?.orphans.removedCount),
  gauge('orphans_unknown', 'Pieces not ours to remove', ({ repair }) => repair?.orphans.unknownCount),
]

function gauge(name: string, help: string, of: StatusNumber['of']): StatusNumber {
  return { type: 'gauge', name, help, of }
}

function counter(name: string, help: string, of: StatusNumber['of']): StatusNumber {
  return { type: 'counter', name, help, of }
}

function seconds(ms: number | null | undefined): number | null {
  return ms === null || ms === undefined ? null : ms / 1000
}
