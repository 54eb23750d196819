import type { SegmentState } from '@qsfs/protocol/cachedb-commands'
import type { Segment } from '../shelf/segment.ts'

/** One that is gone is on its way out. */
const states: readonly SegmentState[] = ['open', 'closed', 'stored', 'absent']

export interface StateSummary {
  readonly count: number
  readonly bytes: number
}

/** The segments of some namespaces, in sum. */
export class SegmentsSummary {
  readonly #byState = new Map<SegmentState, { count: number; bytes: number }>(
    states.map(state => [state, { count: 0, bytes: 0 }]),
  )
  localBytes = 0
  liveBytes = 0
  /** Closed and owed to the store. */
  waitingCount = 0
  waitingBytes = 0
  /** How long the oldest of them has waited in this process; 0 when there is none. */
  waitedMs = 0
  /** Closed segments whose file is not there: what they hold cannot be read. */
  lostCount = 0

  get byState(): ReadonlyMap<SegmentState, StateSummary> {
    return this.#byState
  }

  add(segments: Iterable<Segment>, nowMs: number): void {
    for (const { state, dataBytes, isLocal, life, lost, owedSinceMs } of segments) {
      const sum = this.#byState.get(state)
      if (sum === undefined) continue
      sum.count++
      sum.bytes += dataBytes
      if (isLocal) this.localBytes += dataBytes
      if (lost) this.lostCount++
      this.liveBytes += life.liveBytes
      if (state !== 'closed' || owedSinceMs === null) continue
      this.waitingCount++
      this.waitingBytes += dataBytes
      this.waitedMs = Math.max(this.waitedMs, nowMs - owedSinceMs)
    }
  }
}
