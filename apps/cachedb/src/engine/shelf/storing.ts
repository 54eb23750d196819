import { delay } from '@qsfs/concurrency/clock'
import { StorageError } from '../../segment/storage.ts'
import { dirtyIdsMax, HookFailed } from '../hooks/hooks.ts'
import { dataPath, hintPath, isGone, type Segment } from './segment.ts'
import type { Shelf } from './shelf.ts'
import { askAgain, forgetFlushed } from './unheard.ts'

/** Also how often a segment that is busy or lost is looked at again. */
const pauseMsMin = 500
/** A hook that exits 0 and names no object, as 0-db's do, was told: it is asked again, but not often. */
const silentPauseMs = { first: 3_600_000, max: 24 * 3_600_000 }

/** Runs the store hook for a closed segment until it prints the object's id, with growing pauses, for ever. An exit code alone is
 *  never trusted with the only copy. Ends early when the segment dies. */
export async function keepStoring(shelf: Shelf, segment: Segment): Promise<void> {
  const { clock, log } = shelf.context
  segment.owedSinceMs = clock.monotonicMs()
  while (!shelf.signal.aborted && segment.state === 'closed') {
    if (segment.activity === null && !segment.lost && dueMs(segment) <= clock.monotonicMs()) {
      await shelf.untilStored(attempt(shelf, segment))
      // A cut, a flush or its own death may have waited for the activity to end.
      shelf.buryDead()
      if (segment.state !== 'closed') return
      const fields = { directory: shelf.directory, segmentId: segment.id, reason: segment.note }
      if (segment.failures === 1) log.warn('segment.not_stored', fields)
      else log.debug('segment.not_stored', fields)
    }
    await delay(clock, Math.max(pauseMsMin, dueMs(segment) - clock.monotonicMs()), { signal: shelf.signal })
  }
}

function dueMs({ retryAtMs, askAgainMs }: Segment): number {
  return Math.max(retryAtMs, askAgainMs)
}

async function attempt(shelf: Shelf, segment: Segment): Promise<void> {
  const { hooks, clock, log, metrics, room } = shelf.context
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
    shelf.manifest.requireWell()
    if (!segment.indexTold) segment.indexTold = await tellIndex(shelf, segment)
    if (shelf.signal.aborted) return
    if (isGone(segment)) return shelf.inBackground(forgetFlushed(shelf, segment.id, null))
    const paths = {
      dataPath: segment.dataPath,
      nextDataPath: dataPath(shelf.directory, segment.id + 1),
      hintPath: segment.hintPath,
    }
    const objectId = await hooks.segmentClosed(paths, shelf.signal)
    if (shelf.signal.aborted) return noteForGrave(shelf, segment, objectId)
    // Flushed while the hook ran: the object is nobody's.
    if (isGone(segment)) return shelf.inBackground(forgetFlushed(shelf, segment.id, objectId))
    if (objectId === null) return heardOnly(shelf, segment)
    segment.state = await shelf.recorded(segment, 'objectPrinted', { type: 'stored', segmentId: segment.id, objectId })
    if (isGone(segment)) return shelf.inBackground(forgetFlushed(shelf, segment.id, objectId))
    segment.objectId = objectId
    segment.succeeded()
    room.noteProgress()
    const durationMs = clock.monotonicMs() - startMs
    metrics.stores.observe(durationMs / 1000)
    log.event('segment.stored', {
      directory: shelf.directory,
      segmentId: segment.id,
      objectId,
      sizeBytes: segment.dataBytes,
      durationMs: Math.round(durationMs),
    })
  } catch (error) {
    if (!(error instanceof HookFailed || error instanceof StorageError)) throw error
    segment.failed(clock.monotonicMs(), 'store', error.message)
    if (isGone(segment) && !shelf.signal.aborted) shelf.inBackground(askAgain(shelf, segment.id))
  } finally {
    segment.activity = null
    segment.pins--
  }
}

/** Tells the hook of the segment's hint file and of the segments that lost values since it was last told. Its failure keeps nothing
 *  back, as with 0-db: what it was told then is told again. */
async function tellIndex(shelf: Shelf, segment: Segment): Promise<boolean> {
  const { dirty } = shelf
  const dirtyIds = dirty.ids().slice(0, dirtyIdsMax)
  // What is lost while the hook runs is news for the next one.
  for (const segmentId of dirtyIds) dirty.remove(segmentId)
  const told = { hintPath: segment.hintPath, nextHintPath: hintPath(shelf.directory, segment.id + 1), dirtyIds }
  const isTold = await shelf.context.hooks.indexClosed(told, shelf.signal)
  if (!isTold) for (const segmentId of dirtyIds) if (shelf.find(segmentId) !== undefined) dirty.add(segmentId)
  return isTold
}

function heardOnly(shelf: Shelf, segment: Segment): void {
  const pauseMs = Math.min(silentPauseMs.first * 2 ** segment.heardCount++, silentPauseMs.max)
  segment.succeeded()
  segment.askAgainMs = shelf.context.clock.monotonicMs() + pauseMs
  segment.note = 'heard, not stored: the hook printed no "stored <object id>"'
  if (segment.heardCount === 1)
    shelf.context.log.event('segment.heard', { directory: shelf.directory, segmentId: segment.id })
}

/** Dropped with its namespace while the hook ran: who makes the list of the objects that are owed a deletion waits for this. */
function noteForGrave({ manifest }: Shelf, { id: segmentId }: Segment, objectId: string | null): void {
  if (objectId !== null && manifest.state.dropping) manifest.state.apply({ type: 'gone', segmentId, objectId })
}
