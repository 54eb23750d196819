import { FileHeader } from '../../segment/format.ts'
import type { Segment } from '../shelf/segment.ts'
import type { Shelf } from '../shelf/shelf.ts'

/** With more deletions than this, which all older segments keep alive, the oldest segment is rewritten, however full it is. */
const tombstoneShareMax = 0.1
/** So many segments of sources may wait for the store to have their copies; a store that is away must not make the disk fuller. */
const waitingSegmentsMax = 4

/** Bytes of entries that must not be lost: live values, and deletions that must be remembered. */
export function neededBytes(shelf: Shelf, { life }: Segment): number {
  return life.liveBytes + life.tombstoneBytes(shelf.neighbours)
}

/** Compacted segments of the store, whose files are there until it has their copies. */
export function waitingSources(shelf: Shelf): readonly Segment[] {
  return shelf.all().filter(segment => segment.life.isCopied && segment.isLocal)
}

/** The segment of a namespace whose compaction gives back most for each byte copied; null when none is due.
 *  @param below the share of needed bytes under which a segment is sparse */
export function chooseSegment(shelf: Shelf, below: number): Segment | null {
  const waitingBytes = waitingSources(shelf).reduce((sum, { dataBytes }) => sum + dataBytes, 0)
  const takesStored = waitingBytes < waitingSegmentsMax * shelf.context.limits.segmentBytesMax
  const mayTake = (segment: Segment) => isEligible(shelf, segment) && (segment.objectId === null || takesStored)
  let chosen: Segment | null = null
  let chosenShare = below
  let localBytes = 0
  let tombstoneBytes = 0
  for (const segment of shelf.all()) {
    if (!segment.isLocal) continue
    localBytes += segment.dataBytes
    tombstoneBytes += segment.life.orderedTombstoneBytes(shelf.neighbours)
    const share = neededBytes(shelf, segment) / (segment.dataBytes - FileHeader.sizeBytes)
    if (share < chosenShare && mayTake(segment)) {
      chosen = segment
      chosenShare = share
    }
  }
  if (chosen !== null || tombstoneBytes <= localBytes * tombstoneShareMax) return chosen
  const oldest = shelf.from(0, 1)
  return oldest !== undefined && mayTake(oldest) ? oldest : null
}

/** Closed, at rest, not needed as it is by anybody, and free to go when it has been copied. */
function isEligible(shelf: Shelf, segment: Segment): boolean {
  const { state, activity, keepers, life } = segment
  return (
    (state === 'closed' || state === 'stored') &&
    segment.isLocal &&
    activity === null &&
    keepers === 0 &&
    segment.compactAfterMs <= shelf.context.clock.monotonicMs() &&
    !life.isCopied &&
    !life.hasSources(shelf.neighbours) &&
    neededBytes(shelf, segment) > 0
  )
}
