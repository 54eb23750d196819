import { ActiveSegment } from '../segment/active.ts'
import { FileHeader } from '../segment/format.ts'
import type { ManifestRecord } from '../segment/manifest-format.ts'
import { dataPath } from './segment.ts'
import type { Shelf } from './shelf.ts'

/** Opens the next segment for append: its file first, then its name in the manifest, in one write with the records `before` it. A
 *  file that the manifest does not name is no segment and is removed at start.
 *  @throws StorageError; nothing has changed then */
export function openNext(
  shelf: Shelf,
  previousEndBytes: number,
  nextId: number,
  ...before: readonly ManifestRecord[]
): ActiveSegment {
  const { storage, random } = shelf.context
  const { state } = shelf.manifest
  const segmentId = state.lastSegmentId + 1
  const salt = random(4).readUInt32LE(0)
  const flushed = before.find(record => record.type === 'flushed')
  const path = dataPath(shelf.directory, segmentId)
  const active = ActiveSegment.create(storage, path, {
    segmentId,
    salt,
    incarnation: flushed?.incarnation ?? state.incarnation,
  })
  try {
    shelf.manifest.append(...before, { type: 'opens', segmentId, salt, previousEndBytes, nextId })
  } catch (error) {
    active[Symbol.dispose]()
    storage.remove(path)
    throw error
  }
  const segment = shelf.add({
    id: segmentId,
    state: 'open',
    salt,
    dataBytes: FileHeader.sizeBytes,
    objectId: null,
    firstId: nextId,
  })
  segment.reader = active
  return active
}
