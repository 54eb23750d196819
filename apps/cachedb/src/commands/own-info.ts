import { Survey } from '../engine/metrics/survey.ts'
import type { Namespace } from '../engine/namespace.ts'
import type { Session } from '../session.ts'

type Lines = readonly (readonly [key: string, value: string | number])[]

/** The sections of INFO that 0-db does not have, behind its own. What came from a hook's mouth is for admins only. */
export function ownSections({ server, isAdmin }: Session): Readonly<Record<string, Lines>> {
  const { namespaces, points, hooks, stats, clock } = server
  const { room, values, metrics, compactor } = namespaces.context
  const survey = Survey.of(namespaces.opened(), clock.monotonicMs())
  const hook = hooks.state()
  const point = points.status
  const forAdmins = (key: string, text: string): Lines => (isAdmin ? [[key, oneLine(text)]] : [])
  return {
    hooks: [
      ['hooks_configured', hooks.configured ? 'yes' : 'no'],
      ['hooks_running', hook.running],
      ['hooks_waiting', hook.waiting],
      ['hooks_succeeded', hook.succeeded],
      ['hooks_failed', hook.failed],
      ['hooks_failing', hook.failing.join(',')],
      ['hooks_last_failure', hook.lastFailure?.event ?? ''],
      ['hooks_last_failure_time', hook.lastFailure?.atSeconds ?? 0],
      ...forAdmins('hooks_last_failure_reason', hook.lastFailure?.reason ?? ''),
    ],
    segments: [
      ...[...survey.byState].flatMap(
        ([state, { count, bytes }]): Lines => [
          [`segments_${state}`, count],
          [`segments_${state}_bytes`, bytes],
        ],
      ),
      ['segments_live_bytes', survey.liveBytes],
      ['segments_waiting', survey.waiting],
      ['segments_waiting_bytes', survey.waitingBytes],
      ['segments_waiting_seconds', Math.floor(survey.waitedMs / 1000)],
      ['segments_lost', survey.lost],
      ['segments_dead', metrics.deaths.value()],
    ],
    compaction: [
      ['compactions', metrics.compactions.value()],
      ['compaction_copied_bytes', metrics.compactionCopiedBytes.value()],
      ['compaction_freed_bytes', metrics.compactionFreedBytes.value()],
      ...forAdmins('compaction_under_way', compactor.underWay?.dataPath ?? ''),
    ],
    cache: [
      ['cache_limit_bytes', room.limitBytes],
      ['cache_used_bytes', room.usedBytes],
      ['cache_evictions', metrics.evictions.value()],
      ['cache_evicted_bytes', metrics.evictedBytes.value()],
      ['cache_cold_reads', metrics.coldReads.value()],
      ['cache_restores_waiting', room.restoresWaiting],
      ['value_cache_bytes', values.bytes],
    ],
    memory: [
      ['keydir_entries', survey.entries],
      ['keydir_bytes', survey.keydirBytes],
      ['resident_bytes', stats.residentBytes()],
    ],
    namespaces: [
      ['namespaces', survey.namespaces],
      ['namespaces_read_only', survey.readOnly],
      ['namespaces_waiting', namespaces.waitingCount],
    ],
    points: [
      ['point_published', point.published],
      ['point_published_time', point.publishedSeconds],
      ['point_under_way', point.underWay],
      ['point_stage', point.stage],
      ['point_unstored_segments', point.unstoredSegments],
      ['point_next_owed', point.isNextOwed ? 'yes' : 'no'],
      ...forAdmins('point_note', point.note),
    ],
  }
}

/** The same of NSINFO, for admins. */
export function ownNamespaceLines(namespace: Namespace, { server }: Session): Lines {
  const { cutFiles, cutBytes, readOnlyReason, compaction } = namespace.info()
  const survey = Survey.of([namespace], server.clock.monotonicMs())
  return [
    ['cut_files', cutFiles],
    ['cut_bytes', cutBytes],
    ['read_only_reason', oneLine(readOnlyReason ?? '')],
    ...[...survey.byState].map(([state, { count }]) => [`segments_${state}`, count] as const),
    ['segments_live_bytes', survey.liveBytes],
    ['segments_local_bytes', survey.localBytes],
    ['segments_waiting', survey.waiting],
    ['segments_lost', survey.lost],
    ['compactions', compaction.segments],
    ['compaction_copied_bytes', compaction.copiedBytes],
    ['compaction_freed_bytes', compaction.freedBytes],
    ['compaction_damaged_segments', compaction.damagedSegments],
  ]
}

/** A value that stays in its line, whatever a hook printed. */
function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ')
}
