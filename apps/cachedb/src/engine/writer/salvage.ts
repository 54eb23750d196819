import type { ActiveSegment } from '../../segment/active.ts'
import { FileHeader } from '../../segment/format.ts'
import { hintRecords } from '../../segment/hint-format.ts'
import { StorageError } from '../../segment/storage.ts'
import type { Writer } from './writer.ts'

const nothing = Buffer.alloc(0)

/** After a failed sync nothing is known of a segment's unsynced bytes. They are read back, verified and appended to a new segment,
 *  which is synced; then the manifest says that the failed one ends where it was last synced.
 *  Until that record is durable a crash finds the old end, which does not verify, and cuts there: still a prefix.
 *  @throws StorageError when the bytes are not there any more, or the new segment cannot be synced either: then read-only */
export async function salvage(writer: Writer, failed: ActiveSegment, cause: StorageError): Promise<void> {
  const { shelf, catalog } = writer
  const { log, room } = shelf.context
  // What is pending was encoded for this segment, if it is still open.
  writer.writePending()
  const { segmentId, syncedBytes, sizeBytes } = failed
  log.error('segment.sync_failed', { directory: shelf.directory, segmentId, syncedBytes, sizeBytes, error: cause })
  const rescue = openRescue(writer)
  for (const { key, offsetBytes, valueBytes, timestampSeconds, tombstone } of hintRecords(
    Buffer.from(failed.entries.bytes),
  )) {
    if (offsetBytes < Math.max(syncedBytes, FileHeader.sizeBytes)) continue
    const location = catalog.find(key)
    // What was overwritten or deleted since is not needed: its successor lies behind it, in this segment or a later one.
    if (tombstone !== null) {
      // Its place is the original one now: the value it killed may lie in the failed segment, in front of what was synced.
      const originSegmentId = tombstone.killsOne ? tombstone.originSegmentId : writer.active.segmentId
      if (location === null) writer.appendCopy(key, nothing, timestampSeconds, { ...tombstone, originSegmentId })
    } else if (location?.segmentId === segmentId && location.offsetBytes === offsetBytes) {
      const value = failed.readSync(key, { offsetBytes, valueBytes })
      if (value === null) throw new StorageError(`segment ${segmentId} lost bytes when its sync failed`, { cause })
      writer.appendCopy(key, value, timestampSeconds, null)
    }
  }
  // What was appended between the two must not be found without what was salvaged, which lies behind it now.
  const between = writer.unsyncedBehind(failed).map(segment => writer.makeDurable(segment))
  await Promise.all([...between, rescue.sync(), writer.syncNames()])
  // Flushed meanwhile: the manifest does not know it any more.
  if (shelf.find(segmentId) === undefined) return
  shelf.manifest.append({ type: 'ends', segmentId, endBytes: syncedBytes })
  await shelf.manifest.sync()
  if (shelf.find(segmentId) === undefined) return
  failed.truncateToSynced()
  room.give(sizeBytes - syncedBytes)
  shelf.get(segmentId).dataBytes = syncedBytes
  log.event('segment.salvaged', {
    directory: shelf.directory,
    segmentId,
    syncedBytes,
    salvagedBytes: sizeBytes - syncedBytes,
  })
}

/** A segment of its own for the copies, so that their origin shares no file with what failed. */
function openRescue(writer: Writer): ActiveSegment {
  writer.rotate()
  return writer.active
}
