import type { SegmentState } from '@qsfs/protocol/cachedb-commands'
import type { Catalog } from '../keydir/catalog.ts'
import type { Namespace } from '../namespace.ts'
import type { Segment } from '../shelf/segment.ts'

/** One that is gone is on its way out. */
const states: readonly SegmentState[] = ['open', 'closed', 'stored', 'absent']

/** What namespaces hold, in sum. */
export class Survey {
  readonly #nowMs: number
  readonly #byState = new Map<SegmentState, { count: number; bytes: number }>(
    states.map(state => [state, { count: 0, bytes: 0 }]),
  )
  namespaces = 0
  /** Namespaces that take no writes any more, for the disk failed them. */
  readOnly = 0
  entries = 0
  /** Payload bytes of live values. */
  dataBytes = 0
  keydirBytes = 0
  localBytes = 0
  /** Bytes of entries whose values live, of all segments. */
  liveBytes = 0
  /** Segments closed and owed to the store. */
  waiting = 0
  waitingBytes = 0
  /** How long the oldest of them has waited in this process; 0 when there is none. */
  waitedMs = 0
  /** Closed segments whose file is not there: what they hold cannot be read. */
  lost = 0

  private constructor(nowMs: number) {
    this.#nowMs = nowMs
  }

  static of(namespaces: Iterable<Namespace>, nowMs: number): Survey {
    const survey = new Survey(nowMs)
    for (const namespace of namespaces) namespace.surveyFor(survey)
    return survey
  }

  get byState(): ReadonlyMap<SegmentState, { readonly count: number; readonly bytes: number }> {
    return this.#byState
  }

  add(segments: Iterable<Segment>, { count, dataBytes, memoryBytes }: Catalog, isReadOnly: boolean): void {
    this.namespaces++
    if (isReadOnly) this.readOnly++
    this.entries += count
    this.dataBytes += dataBytes
    this.keydirBytes += memoryBytes
    for (const segment of segments) this.#addSegment(segment)
  }

  #addSegment({ state, dataBytes, isLocal, life, lost, owedSinceMs }: Segment): void {
    const sum = this.#byState.get(state)
    if (sum === undefined) return
    sum.count++
    sum.bytes += dataBytes
    if (isLocal) this.localBytes += dataBytes
    if (lost) this.lost++
    this.liveBytes += life.liveBytes
    if (state !== 'closed' || owedSinceMs === null) return
    this.waiting++
    this.waitingBytes += dataBytes
    this.waitedMs = Math.max(this.waitedMs, this.#nowMs - owedSinceMs)
  }
}
