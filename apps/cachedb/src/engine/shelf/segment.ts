import { join } from 'node:path'
import type { Backoff } from '@qsfs/concurrency/backoff'
import type { SegmentInfo, SegmentState } from '@qsfs/protocol/cachedb-commands'
import type { SegmentReader } from '../../segment/reader.ts'
import { hasFile, type SegmentActivity } from '../manifest/segment-state.ts'
import { SegmentLife } from './life.ts'

/** A restored segment stays at least this long, or two readers would evict each other's before they read: who asked by WARM
 *  needs a round trip more. Longer pins made cold reads wait for each other in a cache of few segments. */
export const restoredPinMs = 500

/** Between two attempts of a hook. */
export interface SegmentPauses {
  readonly store: Backoff
  readonly restore: Backoff
}

/** One segment as the engine sees it: its state is the manifest's, the rest lives in memory. */
export class Segment {
  readonly id: number
  readonly dataPath: string
  readonly hintPath: string
  readonly life: SegmentLife
  /** The next sequential id when it opened. */
  readonly firstId: number
  state: SegmentState
  /** At most one at a time. */
  activity: SegmentActivity | null = null
  salt: number | null
  /** Of an open segment: of its file now. */
  dataBytes: number
  objectId: string | null
  /** While it is open for append; a closed one is read through `OpenFiles`. */
  reader: SegmentReader | null = null
  /** Closed, and its file is not there: only a hook can bring it back. */
  lost = false
  lastReadMs: number
  pinnedUntilMs = 0
  /** Reads and restores that count on the file. */
  pins = 0
  /** Who needs the segment although nothing in it lives: it does not go, but its file may. */
  keepers = 0
  /** Not compacted before then. */
  compactAfterMs = 0
  /** While it was compacted, a reader met an entry that fails its check. */
  isDamaged = false
  /** Bytes copied out of it into room that is kept for others: they get it back when its file leaves. */
  lentBytes = 0
  /** Since it is closed and owed to the store, in this process; null while it is not. */
  owedSinceMs: number | null = null
  /** The hook has heard of its index half. */
  indexTold = false
  /** The hook has heard of it, so often, and named no object: when it is asked again. */
  heardCount = 0
  askAgainMs = 0
  note = ''
  failures = 0
  retryAtMs = 0
  readonly pauses: SegmentPauses
  /** What is said of it once, however often it is met. */
  readonly #said = new Set<string>()

  constructor(
    directory: string,
    facts: Pick<Segment, 'id' | 'state' | 'salt' | 'dataBytes' | 'objectId' | 'firstId'>,
    { nowMs, pauses }: { readonly nowMs: number; readonly pauses: SegmentPauses },
  ) {
    this.id = facts.id
    this.dataPath = dataPath(directory, facts.id)
    this.hintPath = hintPath(directory, facts.id)
    this.life = new SegmentLife(facts.id)
    this.firstId = facts.firstId
    this.state = facts.state
    this.salt = facts.salt
    this.dataBytes = facts.dataBytes
    this.objectId = facts.objectId
    this.lastReadMs = nowMs
    this.pauses = pauses
  }

  get isLocal(): boolean {
    return hasFile(this.state) && !this.lost
  }

  /** Counts a failed attempt and says when the next one is due. */
  failed(nowMs: number, what: keyof SegmentPauses, reason: string): void {
    this.failures++
    this.retryAtMs = nowMs + this.pauses[what].next()
    this.note = `${what} failed ${this.failures} times: ${reason}`
  }

  /** Whether this is to be said: it was not, since the segment was last stored or restored. */
  isNews(what: string): boolean {
    if (this.#said.has(what)) return false
    this.#said.add(what)
    return true
  }

  succeeded(): void {
    this.#said.clear()
    this.failures = 0
    this.retryAtMs = 0
    this.note = ''
    this.pauses.store.reset()
    this.pauses.restore.reset()
  }

  info(): SegmentInfo {
    return {
      id: this.id,
      state: this.state,
      dataBytes: this.dataBytes,
      liveBytes: this.life.liveBytes,
      objectId: this.objectId,
      local: this.isLocal,
      note:
        this.note !== '' ? this.note : (this.activity ?? (this.life.isCopied ? 'compacted, waits for its copies' : '')),
    }
  }
}

export function dataPath(directory: string, segmentId: number): string {
  return join(directory, `d${segmentId}`)
}

export function hintPath(directory: string, segmentId: number): string {
  return join(directory, `h${segmentId}`)
}

/** Awaiting changes what the compiler believes to know of a state. */
export function isGone(segment: Segment): boolean {
  return segment.state === 'gone'
}
