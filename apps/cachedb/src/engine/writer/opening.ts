import { ActiveSegment } from '../../segment/active.ts'
import { FileHeader } from '../../segment/format.ts'
import type { ManifestRecord } from '../../segment/manifest-format.ts'
import { dataPath } from '../shelf/segment.ts'
import type { Shelf } from '../shelf/shelf.ts'

/** Opens the next segment for append: its file first, then its name in the manifest, in one write with other records. What of that
 *  write reaches the disk is a prefix of it. A file that the manifest does not name is no segment and is removed at start.
 *  @param place `previousEndBytes`: where the segment opened before it ends, 0 when nothing of it counts
 *  @throws StorageError; nothing has changed then */
export function openNext(
  shelf: Shelf,
  place: { readonly previousEndBytes: number; readonly nextId: number },
  {
    before = [],
    after = [],
  }: { readonly before?: readonly ManifestRecord[]; readonly after?: readonly ManifestRecord[] } = {},
): ActiveSegment {
  const { storage, random } = shelf.context
  const { state } = shelf.manifest
  const segmentId = state.lastSegmentId + 1
  const salt = random(4).readUInt32LE(0)
  const flushed = before.find(record => record.type === 'flushed')
  const incarnation = flushed?.incarnation ?? state.incarnation
  const path = dataPath(shelf.directory, segmentId)
  const active = ActiveSegment.create(storage, path, { segmentId, salt, incarnation })
  try {
    shelf.manifest.append(...before, { type: 'opens', segmentId, salt, ...place }, ...after)
  } catch (error) {
    active[Symbol.dispose]()
    storage.remove(path)
    throw error
  }
  const dataBytes = FileHeader.sizeBytes
  const segment = shelf.add({ id: segmentId, state: 'open', salt, dataBytes, objectId: null, firstId: place.nextId })
  segment.reader = active
  return active
}
