import { Backoff } from '@qsfs/concurrency/backoff'
import { delay } from '@qsfs/concurrency/clock'
import { StorageError } from '../../segment/storage.ts'
import { HookFailed } from '../hooks/hooks.ts'
import { transitionOf } from '../manifest/segment-state.ts'
import type { Segment } from './segment.ts'
import type { Shelf } from './shelf.ts'

const deletePauses = { firstMs: 1_000, maxMs: 300_000 }

/** A segment with nothing needed in it leaves: what made it so is synced, then `gone` is recorded, then it is unlinked, then its
 *  object is deleted. */
export async function bury(shelf: Shelf, segment: Segment): Promise<void> {
  segment.activity = 'burying'
  try {
    await shelf.syncAppended()
  } catch (error) {
    segment.activity = null
    throw error
  }
  await recordGone(shelf, segment)
  // Flushed meanwhile: whoever flushed it cleans up.
  if (shelf.find(segment.id) !== segment) return
  if (segment.isLocal) shelf.dropFile(segment)
  segment.state = transitionOf(segment.state, 'died').to
  shelf.context.storage.remove(segment.hintPath)
  shelf.context.metrics.deaths.add()
  shelf.context.log.event('segment.gone', { directory: shelf.directory, segmentId: segment.id })
  shelf.remove(segment)
  if (segment.objectId !== null) await deleteObject(shelf, segment, segment.objectId)
}

/** Settles when the record is on disk. Once it is written there is no way back: a segment that the manifest calls gone can be nothing
 *  else, so what fails is tried again, and nothing else is done with the segment until then.
 *  @throws StorageError when nothing can be recorded any more: then it stays so until the next start */
async function recordGone(shelf: Shelf, segment: Segment): Promise<void> {
  const { clock, log, random } = shelf.context
  const { id: segmentId, objectId } = segment
  const backoff = new Backoff({ ...deletePauses, random })
  let isWritten = false
  while (shelf.find(segmentId) === segment) {
    try {
      if (!isWritten) shelf.manifest.append({ type: 'gone', segmentId, objectId })
      isWritten = true
      return await shelf.manifest.sync()
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      shelf.manifest.requireWell()
      log.error('segment.not_buried', { directory: shelf.directory, segmentId, error })
      if (error.full && segment.isLocal) {
        // No room for the record. The file may go first: a start that misses it finds by its hint that nothing in it lives.
        shelf.dropFile(segment)
        segment.lost = true
        continue
      }
    }
    await delay(clock, backoff.next(), { signal: shelf.signal })
  }
}

/** Runs the `segment-deleted` hook until it exits 0, then forgets the segment. */
export async function deleteObject(
  shelf: Shelf,
  segment: Pick<Segment, 'id' | 'dataPath'>,
  objectId: string,
): Promise<void> {
  const { hooks, clock, log, random } = shelf.context
  const backoff = new Backoff({ ...deletePauses, random })
  while (!shelf.signal.aborted) {
    try {
      await hooks.segmentDeleted({ dataPath: segment.dataPath, objectId }, shelf.signal)
      break
    } catch (error) {
      if (!(error instanceof HookFailed)) throw error
      // Each failure is the hook's, and said as such.
      log.debug('segment.not_deleted', {
        directory: shelf.directory,
        segmentId: segment.id,
        objectId,
        reason: error.message,
      })
    }
    await delay(clock, backoff.next(), { signal: shelf.signal })
  }
  if (!shelf.signal.aborted) shelf.manifest.append({ type: 'deleted', segmentId: segment.id })
}
