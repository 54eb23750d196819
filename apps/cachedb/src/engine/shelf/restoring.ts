import { basename } from 'node:path'
import { CacheFull, SegmentUnavailable } from '../../errors.ts'
import { decodeFileHeader, FileHeader, FormatError } from '../../segment/format.ts'
import { StorageError } from '../../segment/storage.ts'
import { HookFailed } from '../hooks/hooks.ts'
import { isGone, restoredPinMs, type Segment } from './segment.ts'
import type { Shelf } from './shelf.ts'

/** Brings a segment's file back by the retrieve hook: an absent one by its object, a closed one whose file is lost by its name.
 *  After a failure nobody waits again until the pause is over: further readers get the last error at once.
 *  @throws SegmentUnavailable */
export async function restore(shelf: Shelf, segment: Segment): Promise<void> {
  const { hooks, clock, log, metrics, room } = shelf.context
  if (segment.activity !== null) throw new SegmentUnavailable(`segment ${segment.id} is ${segment.activity}`)
  if (clock.monotonicMs() < segment.retryAtMs) throw new SegmentUnavailable(`segment ${segment.id}: ${segment.note}`)
  if (!shelf.isStarting && !room.canHold(segment.dataBytes))
    throw new SegmentUnavailable(`segment ${segment.id} has ${segment.dataBytes} bytes, more than cache_bytes`)
  const startMs = clock.monotonicMs()
  segment.activity = 'restoring'
  segment.pins++
  let present = false
  // The only copy of a closed segment, put back by somebody: not ours to replace or remove.
  const isBack = segment.state === 'closed' && shelf.context.storage.sizeBytes(segment.dataPath) !== null
  // The room is taken for the file that will be there, its temporary one included.
  // A start waits for none, as nothing can leave before it is over: the cache shrinks behind it.
  let isRoomTaken = false
  try {
    if (shelf.isStarting) room.add(segment.dataBytes)
    else {
      await room.makeDiskRoom(segment.dataBytes)
      await room.takeForRestore(segment.dataBytes)
    }
    isRoomTaken = true
    requireWanted(shelf, segment)
    shelf.manifest.requireWell()
    if (!isBack) {
      shelf.context.storage.remove(segment.dataPath)
      const { dataPath, hintPath, objectId } = segment
      await hooks.segmentMissing({ dataPath, hintPath, objectId }, shelf.signal)
    }
    await acceptFile(shelf, segment)
    requireWanted(shelf, segment)
    present = true
    segment.lost = false
    segment.lastReadMs = clock.monotonicMs()
    segment.pinnedUntilMs = segment.lastReadMs + restoredPinMs
    segment.succeeded()
    log.event('segment.restored', {
      directory: shelf.directory,
      segmentId: segment.id,
      sizeBytes: segment.dataBytes,
      durationMs: Math.round(segment.lastReadMs - startMs),
    })
  } catch (error) {
    if (!isExpected(error)) throw error
    segment.failed(clock.monotonicMs(), 'restore', error.message)
    const fields = { directory: shelf.directory, segmentId: segment.id, reason: segment.note }
    if (segment.failures === 1) log.warn('segment.not_restored', fields)
    else log.debug('segment.not_restored', fields)
    throw new SegmentUnavailable(`segment ${segment.id}: ${segment.note}`, error)
  } finally {
    metrics.restores.observe((clock.monotonicMs() - startMs) / 1000, [present ? 'restored' : 'failed'])
    if (!present && isRoomTaken) {
      // What lies in the directory of a closed namespace may be another's by now.
      if (!isBack && !shelf.signal.aborted) removeLeavings(shelf, segment)
      room.give(segment.dataBytes)
    }
    segment.activity = null
    segment.pins--
    shelf.settled(segment)
  }
}

/** What the world can do to a restore. */
function isExpected(error: unknown): error is Error {
  return [HookFailed, StorageError, FormatError, CacheFull].some(kind => error instanceof kind)
}

/** A hook's exit code proves nothing: the file counts when it is the one that was closed, is on disk, and the manifest says so. */
async function acceptFile(shelf: Shelf, segment: Segment): Promise<void> {
  const { storage } = shelf.context
  requireWanted(shelf, segment)
  const sizeBytes = storage.sizeBytes(segment.dataPath)
  if (sizeBytes === null) throw new FormatError('the hook left no file')
  if (sizeBytes !== segment.dataBytes)
    throw new FormatError(`the file has ${sizeBytes} bytes, not ${segment.dataBytes}`)
  {
    using file = storage.openRead(segment.dataPath)
    const identity = decodeFileHeader(file.readSync(0, FileHeader.sizeBytes))
    if (identity.segmentId !== segment.id || identity.salt !== segment.salt)
      throw new FormatError('the file is another segment')
  }
  await storage.syncFile(segment.dataPath)
  await storage.syncDirectory(shelf.directory)
  requireWanted(shelf, segment)
  if (segment.state === 'absent') {
    const { id: segmentId, objectId } = segment
    segment.state = await shelf.recorded(segment, 'restored', { type: 'stored', segmentId, objectId: objectId ?? '' })
  } else {
    segment.state = await shelf.recorded(segment, 'fetched', null)
  }
}

/** @throws HookFailed when nobody can use the file any more */
function requireWanted(shelf: Shelf, segment: Segment): void {
  if (shelf.signal.aborted) throw new HookFailed('the namespace is closed')
  if (isGone(segment)) throw new HookFailed('the namespace was flushed')
}

/** The file that was not accepted, and the `.<name>.<object>.part` of a store that did not finish. */
export function removeLeavings(shelf: Shelf, segment: Segment): void {
  const { storage } = shelf.context
  storage.remove(segment.dataPath)
  for (const { name } of storage.list(shelf.directory)) {
    if (name.startsWith(`.${basename(segment.dataPath)}.`) && name.endsWith('.part'))
      storage.remove(`${shelf.directory}/${name}`)
  }
}
