import { delay } from '@qsfs/concurrency/clock'
import { StorageError } from '../../segment/storage.ts'
import { HookFailed } from '../hooks/hooks.ts'
import { deleteObject } from './burying.ts'
import { dataPath, hintPath, isGone, type Segment } from './segment.ts'
import type { Shelf } from './shelf.ts'

/** Also how often a segment that is busy or lost is looked at again. */
const pauseMsMin = 500

/** Runs the store hook for a closed segment until it prints the object's id, with growing pauses, for ever. An exit code alone is
 *  never trusted with the only copy. Ends early when the segment dies. */
export async function keepStoring(shelf: Shelf, segment: Segment): Promise<void> {
  const { clock, log } = shelf.context
  while (!shelf.signal.aborted && segment.state === 'closed') {
    if (segment.activity === null && !segment.lost) {
      await attempt(shelf, segment)
      // A cut, a flush or its own death may have waited for the activity to end.
      shelf.buryDead()
      if (segment.state !== 'closed') return
      log.warn('segment.not_stored', { directory: shelf.directory, segmentId: segment.id, reason: segment.note })
    }
    await delay(clock, Math.max(pauseMsMin, segment.retryAtMs - clock.monotonicMs()), { signal: shelf.signal })
  }
}

async function attempt(shelf: Shelf, segment: Segment): Promise<void> {
  const { hooks, clock, log, room } = shelf.context
  const startMs = clock.monotonicMs()
  segment.activity = 'storing'
  segment.pins++
  // A first try may well succeed and takes its time: who finds no room meanwhile waits for it, as after a success.
  if (segment.failures === 0) room.noteProgress()
  try {
    // What is stored must be what can be taken back: a restore compares it.
    const sizeBytes = shelf.context.storage.sizeBytes(segment.dataPath)
    if (sizeBytes !== segment.dataBytes)
      throw new StorageError(`the file has ${sizeBytes} bytes, not ${segment.dataBytes}`)
    const objectId = await hooks.segmentClosed({
      dataPath: segment.dataPath,
      nextDataPath: dataPath(shelf.directory, segment.id + 1),
      hintPath: segment.hintPath,
      nextHintPath: hintPath(shelf.directory, segment.id + 1),
    })
    if (objectId === null) throw new HookFailed('the store hook printed no "stored <object id>"')
    if (shelf.signal.aborted) return
    // Flushed while the hook ran: the object is nobody's.
    if (isGone(segment)) return shelf.inBackground(deleteObject(shelf, segment, objectId))
    segment.state = await shelf.recorded(segment, 'objectPrinted', { type: 'stored', segmentId: segment.id, objectId })
    segment.objectId = objectId
    segment.succeeded()
    room.noteProgress()
    log.event('segment.stored', {
      directory: shelf.directory,
      segmentId: segment.id,
      objectId,
      sizeBytes: segment.dataBytes,
      durationMs: Math.round(clock.monotonicMs() - startMs),
    })
  } catch (error) {
    if (!(error instanceof HookFailed || error instanceof StorageError)) throw error
    segment.failed(clock.monotonicMs(), 'store', error.message)
  } finally {
    segment.activity = null
    segment.pins--
  }
}
