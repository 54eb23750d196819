import { dirname, join } from 'node:path'
import { Backoff } from '@qsfs/concurrency/backoff'
import { delay } from '@qsfs/concurrency/clock'
import { FormatError } from '../segment/format.ts'
import type { ManifestRecord } from '../segment/manifest-format.ts'
import { StorageError } from '../segment/storage.ts'
import type { EngineContext } from './context.ts'
import { HookFailed } from './hooks/hooks.ts'
import { Manifest } from './manifest/manifest.ts'
import type { ManifestState } from './manifest/manifest-state.ts'
import { isCut } from './recovery/cuts.ts'
import { dataPath } from './shelf/segment.ts'

/** Where the manifests of dropped namespaces wait until their objects are deleted; a dot makes it no namespace. */
const graveyard = '.dropped'
const deletePauses = { firstMs: 1_000, maxMs: 300_000 }

/** Removes a namespace whose manifest says `dropping`: its files go, what its objects are owed is kept aside, its manifest goes;
 *  then the objects, by themselves and also after a restart. Settles when the files are gone for good.
 *  @throws StorageError; it may be tried again */
export async function dropNamespace(directory: string, state: ManifestState, context: EngineContext): Promise<void> {
  const { storage, log } = context
  const records = owedRecords(state)
  // First of all: a full disk has room then. The manifest goes last: segments without one look like a manifest lost.
  for (const { name, isDirectory } of storage.list(directory)) {
    if (!isDirectory && name !== 'manifest') storage.remove(join(directory, name))
  }
  await storage.syncDirectory(directory)
  const yard = join(dirname(directory), graveyard)
  const gravePath = join(yard, state.incarnation.toString('hex'))
  if (records.length > 0) {
    storage.makeDirectory(yard)
    await storage.syncDirectory(dirname(directory))
    using _ = await Manifest.create(storage, gravePath, state.incarnation, records)
  }
  storage.removeDirectory(directory)
  await storage.syncDirectory(dirname(directory))
  log.event('namespace.dropped', { directory, objectsOwed: records.length / recordsPerObject })
  if (records.length > 0) await payGrave(gravePath, directory, context)
}

/** Finishes a drop that a crash or a full disk interrupted.
 *  @returns whether there was one
 *  @throws FormatError, StorageError */
export async function finishDrop(directory: string, context: EngineContext): Promise<boolean> {
  using manifest = await Manifest.open(context.storage, join(directory, 'manifest'))
  if (!manifest?.state.dropping) return false
  await dropNamespace(directory, manifest.state, context)
  return true
}

/** At start: goes on deleting the objects of namespaces dropped earlier. */
export async function finishDrops(dataDirectory: string, context: EngineContext): Promise<void> {
  const { storage } = context
  const yard = join(dataDirectory, graveyard)
  for (const { name, isDirectory } of storage.list(yard)) {
    if (isDirectory || name.endsWith('.tmp') || isCut(name)) continue
    await payGrave(join(yard, name), dataDirectory, context)
  }
}

const recordsPerObject = 3

function owedRecords({ segments }: ManifestState): readonly ManifestRecord[] {
  return [...segments.values()].flatMap(({ segmentId, objectId, salt, dataBytes }): readonly ManifestRecord[] => {
    if (objectId === null) return []
    return [
      { type: 'opens', segmentId, salt: salt ?? 0, previousEndBytes: 0, nextId: 0 },
      { type: 'closed', segmentId, dataBytes, salt },
      { type: 'gone', segmentId, objectId },
    ]
  })
}

/** Settles when the deletions have begun. Objects that nobody needs are no reason to serve nothing: a failure is logged. */
async function payGrave(path: string, directory: string, context: EngineContext): Promise<void> {
  try {
    const grave = await Manifest.open(context.storage, path)
    if (grave !== null) deleteInBackground(grave, directory, context)
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof StorageError)) throw error
    context.log.error('drop.failed', { path, error })
  }
}

function deleteInBackground(grave: Manifest, directory: string, context: EngineContext): void {
  deleteObjects(grave, directory, context).catch(error => context.log.error('drop.failed', { path: grave.path, error }))
}

/** One object after the other, each until its hook exits 0; then the grave is closed. */
async function deleteObjects(
  grave: Manifest,
  directory: string,
  { hooks, clock, random, storage, log }: EngineContext,
): Promise<void> {
  const backoff = new Backoff({ ...deletePauses, random })
  for (const { segmentId, objectId } of [...grave.state.segments.values()]) {
    for (;;) {
      try {
        await hooks.segmentDeleted({ dataPath: dataPath(directory, segmentId), objectId: objectId! })
        break
      } catch (error) {
        if (!(error instanceof HookFailed)) throw error
        log.debug('segment.not_deleted', { directory, segmentId, objectId, reason: error.message })
        await delay(clock, backoff.next())
      }
    }
    backoff.reset()
    grave.append({ type: 'deleted', segmentId })
  }
  grave[Symbol.dispose]()
  storage.remove(grave.path)
}
