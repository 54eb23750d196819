import type { Tombstone } from '../../segment/hint-format.ts'

/** The other segments of a namespace, as a segment that may go must know them. */
export interface Neighbours {
  /** The oldest segment that is not gone. */
  readonly oldestId: number
  /** Whether a segment is not gone. */
  exists(segmentId: number): boolean
  /** Whether what lies in a segment lies nowhere else than on this machine, while it could. */
  isOnlyHere(segmentId: number): boolean
}

/** What of a segment is still needed: its live values, and the deletions that must be remembered.
 *
 *  A deletion is needed while an older segment may hold a value of its key, which would come back at a restart. Of a sequential
 *  id that was never updated that is the one segment of its value; of any other key all segments older than the original
 *  deletion.
 *
 *  What was copied elsewhere is not needed here any more. But the source goes before its copies may, or a deletion that knows the
 *  copy alone would be forgotten too early; and a source that the store holds goes only when it holds the copies. */
export class SegmentLife {
  readonly segmentId: number
  #liveBytes = 0
  /** Bytes of deletions, by the segment whose one value they killed. */
  readonly #killedIn = new Map<number, number>()
  /** Bytes of the other deletions, by the segment they were first written to. */
  readonly #origins = new Map<number, number>()
  readonly #copiedFrom = new Set<SegmentLife>()
  readonly #copiedTo = new Set<SegmentLife>()
  #isCopied = false

  constructor(segmentId: number) {
    this.segmentId = segmentId
  }

  /** Bytes of entries whose values live. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  /** Compaction has been here: all that was needed lies elsewhere as well. */
  get isCopied(): boolean {
    return this.#isCopied
  }

  addValue(entryBytes: number): void {
    this.#liveBytes += entryBytes
  }

  removeValue(entryBytes: number): void {
    this.#liveBytes -= entryBytes
  }

  addTombstone({ killsOne, originSegmentId }: Tombstone, entryBytes: number): void {
    const bytes = killsOne ? this.#killedIn : this.#origins
    bytes.set(originSegmentId, (bytes.get(originSegmentId) ?? 0) + entryBytes)
  }

  /** A copy of something in `source` was appended here; what had been copied there before counts as copied here. */
  addCopyOf(source: SegmentLife): void {
    for (const origin of [source, ...source.#copiedFrom]) {
      this.#copiedFrom.add(origin)
      origin.#copiedTo.add(this)
    }
  }

  /** All that was needed has been copied, live values and deletions. */
  markCopied(): void {
    this.#isCopied = true
  }

  needs({ killsOne, originSegmentId }: Tombstone, { exists, oldestId }: Neighbours): boolean {
    // What this segment itself holds of the key goes with it.
    return killsOne ? originSegmentId !== this.segmentId && exists(originSegmentId) : oldestId < originSegmentId
  }

  /** Bytes of deletions that must be remembered. */
  tombstoneBytes(others: Neighbours): number {
    let sum = 0
    for (const [originSegmentId, bytes] of this.#killedIn)
      if (this.needs({ killsOne: true, originSegmentId }, others)) sum += bytes
      else this.#killedIn.delete(originSegmentId)
    return sum + this.orderedTombstoneBytes(others)
  }

  /** Of these, the bytes of those that all older segments keep alive. */
  orderedTombstoneBytes(others: Neighbours): number {
    let sum = 0
    for (const [originSegmentId, bytes] of this.#origins)
      if (this.needs({ killsOne: false, originSegmentId }, others)) sum += bytes
    return sum
  }

  wasCopiedTo(segmentId: number): boolean {
    for (const copy of this.#copiedTo) if (copy.segmentId === segmentId) return true
    return false
  }

  /** A segment whose values were copied here is still there: this one must not go before it. */
  hasSources({ exists }: Neighbours): boolean {
    for (const source of this.#copiedFrom) {
      if (exists(source.segmentId)) return true
      this.#copiedFrom.delete(source)
    }
    return false
  }

  /** @param isStored whether the store holds this segment: then it does not go before the store holds the copies */
  isDead(others: Neighbours, { isStored }: { readonly isStored: boolean }): boolean {
    if (this.#liveBytes > 0 || this.hasSources(others)) return false
    if (isStored && this.#hasUnstoredCopies(others)) return false
    return this.#isCopied || this.tombstoneBytes(others) === 0
  }

  #hasUnstoredCopies(others: Neighbours): boolean {
    for (const copy of this.#copiedTo) {
      const { segmentId } = copy
      if (others.exists(segmentId) && others.isOnlyHere(segmentId) && copy.#isNeeded(others)) return true
    }
    return false
  }

  #isNeeded(others: Neighbours): boolean {
    return this.#liveBytes > 0 || this.tombstoneBytes(others) > 0
  }
}
