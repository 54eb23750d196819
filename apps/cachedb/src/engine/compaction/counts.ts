/** What compaction has done since the server started. */
export interface CompactionCounts {
  /** Segments that nothing is needed of any more because it was copied. */
  segments: number
  copiedBytes: number
  /** Of compacted segments that are gone. */
  freedBytes: number
  /** Segments in which an entry that is needed fails its check. */
  damagedSegments: number
}

export function noCompaction(): CompactionCounts {
  return { segments: 0, copiedBytes: 0, freedBytes: 0, damagedSegments: 0 }
}
