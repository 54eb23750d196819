import { Backoff } from '@qsfs/concurrency/backoff'
import { delay } from '@qsfs/concurrency/clock'
import { StorageError } from '../../segment/storage.ts'
import { HookFailed } from '../hooks/hooks.ts'
import { deleteObject } from './burying.ts'
import { dataPath, hintPath } from './segment.ts'
import type { Shelf } from './shelf.ts'

const askPauses = { firstMs: 1_000, maxMs: 300_000 }

/** A segment was flushed while its store hook ran, and nobody heard how that ended: the store is asked once more to store the files,
 *  which were kept for that, and answers with the id it has or makes now. That object is deleted. */
export async function askAgain(shelf: Shelf, segmentId: number): Promise<void> {
  const { hooks, storage, clock, log, random } = shelf.context
  const backoff = new Backoff({ ...askPauses, random })
  const paths = {
    dataPath: dataPath(shelf.directory, segmentId),
    nextDataPath: dataPath(shelf.directory, segmentId + 1),
    hintPath: hintPath(shelf.directory, segmentId),
  }
  for (;;) {
    shelf.signal.throwIfAborted()
    // Without its file nobody can store it, and nobody can ask.
    if (storage.sizeBytes(paths.dataPath) === null) return await forgetFlushed(shelf, segmentId, null)
    try {
      return await forgetFlushed(shelf, segmentId, await hooks.segmentClosed(paths, shelf.signal))
    } catch (error) {
      if (!(error instanceof HookFailed || error instanceof StorageError)) throw error
      log.debug('segment.in_doubt', { directory: shelf.directory, segmentId, reason: error.message })
    }
    await delay(clock, backoff.next(), { signal: shelf.signal })
  }
}

/** What a flushed segment's store hook made is known: no object, or one that is owed its deletion.
 *  @throws StorageError when that cannot be recorded; nothing has happened then */
export async function forgetFlushed(shelf: Shelf, segmentId: number, objectId: string | null): Promise<void> {
  const { manifest, directory, signal } = shelf
  const { storage } = shelf.context
  if (signal.aborted) return
  if (objectId === null) manifest.append({ type: 'deleted', segmentId })
  else manifest.append({ type: 'gone', segmentId, objectId })
  await manifest.sync()
  storage.remove(dataPath(directory, segmentId))
  storage.remove(hintPath(directory, segmentId))
  if (objectId !== null)
    await deleteObject(shelf, { id: segmentId, dataPath: dataPath(directory, segmentId) }, objectId)
}
