import type { Tombstone } from '../../segment/hint-format.ts'

/** What of a segment is still needed: its live values, and the deletions that must be remembered.
 *
 *  A deletion is needed while an older segment may hold a value of its key, which would come back at a restart. Of a sequential
 *  id that was never updated that is the one segment of its value; of any other key all segments older than the original
 *  deletion. */
export class SegmentLife {
  readonly #segmentId: number
  #liveBytes = 0
  /** Segments whose one value a deletion here killed. */
  readonly #killedIn = new Set<number>()
  /** The newest segment that a deletion of the other kind was first written to; -1 when there is none. */
  #newestOrigin = -1

  constructor(segmentId: number) {
    this.#segmentId = segmentId
  }

  /** Bytes of entries whose values live. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  addValue(entryBytes: number): void {
    this.#liveBytes += entryBytes
  }

  removeValue(entryBytes: number): void {
    this.#liveBytes -= entryBytes
  }

  addTombstone({ killsOne, originSegmentId }: Tombstone): void {
    if (!killsOne) this.#newestOrigin = Math.max(this.#newestOrigin, originSegmentId)
    else if (originSegmentId !== this.#segmentId) this.#killedIn.add(originSegmentId)
  }

  /** @param exists whether a segment is not gone
   *  @param oldestSegmentId the oldest that exists */
  isDead(exists: (segmentId: number) => boolean, oldestSegmentId: number): boolean {
    if (this.#liveBytes > 0 || oldestSegmentId < this.#newestOrigin) return false
    for (const segmentId of this.#killedIn) {
      if (exists(segmentId)) return false
      this.#killedIn.delete(segmentId)
    }
    return true
  }
}
