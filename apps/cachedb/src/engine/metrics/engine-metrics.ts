import { Metrics } from '@qsfs/telemetry/metrics'

const secondsBuckets = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]

/** What the engine counts since the start. */
export class EngineMetrics {
  /** Reads and WARMs that found their segment absent. */
  readonly coldReads
  /** Seconds from the first reader to the end of a restore, its wait for room included. */
  readonly restores
  /** Seconds that the attempt took which stored a segment. */
  readonly stores
  readonly evictions
  readonly evictedBytes
  /** Segments that held nothing needed any more and left. */
  readonly deaths
  readonly damagedEntries
  readonly compactions
  readonly compactionCopiedBytes
  readonly compactionFreedBytes
  readonly points
  readonly pointFailures

  constructor(metrics = new Metrics()) {
    const counter = (name: string, help: string) => metrics.counter(`qsfs_cachedb_${name}`, help)
    this.coldReads = counter('cold_reads_total', 'Reads that found their segment absent')
    this.restores = metrics.histogram(
      'qsfs_cachedb_restore_seconds',
      'Time to bring an absent segment back, from its first reader, by how it ended',
      secondsBuckets,
      ['result'],
    )
    this.stores = metrics.histogram(
      'qsfs_cachedb_store_seconds',
      'Time of the attempt that stored a segment',
      secondsBuckets,
    )
    this.evictions = counter('evictions_total', 'Stored segments that left the local disk')
    this.evictedBytes = counter('evicted_bytes_total', 'Their bytes')
    this.deaths = counter('segments_dead_total', 'Segments that left because nothing in them was needed')
    this.damagedEntries = counter('damaged_entries_total', 'Entries that failed their check when they were read')
    this.compactions = counter('compactions_total', 'Segments of which all that is needed was copied')
    this.compactionCopiedBytes = counter('compaction_copied_bytes_total', 'Bytes copied by compaction')
    this.compactionFreedBytes = counter(
      'compaction_freed_bytes_total',
      'Bytes of compacted segments that left the disk',
    )
    this.points = counter('points_total', 'Recovery points published')
    this.pointFailures = counter('point_failures_total', 'Attempts to publish a recovery point that failed')
  }
}
