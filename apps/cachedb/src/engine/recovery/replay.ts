import type { HintRecord } from '../../segment/hint-format.ts'
import { type ScannedFile, type ScanResult, scanEntries } from '../../segment/recover.ts'
import { type Storage, StorageError } from '../../segment/storage.ts'
import type { Catalog } from '../keydir/catalog.ts'
import type { Segment } from '../shelf/segment.ts'

/** Applies the entries of a data file to the catalog, in their order, as if they were just appended.
 *  @param each is told every entry, as its hint says it; the key is a view of a big buffer */
export function replaySegment(
  catalog: Catalog,
  segment: Segment,
  file: ScannedFile,
  bounds: { readonly syncedBytes: number; readonly endBytes?: number },
  each: (record: HintRecord) => void,
): ScanResult {
  return scanEntries(
    file,
    segment.salt,
    bounds,
    ({ key, value, valueCrc, offsetBytes, timestampSeconds, deleted, copied }) => {
      const location = { segmentId: segment.id, offsetBytes, valueBytes: value.length, timestampSeconds, valueCrc }
      const tombstone = deleted ? catalog.tombstoneOf(key, segment.id) : null
      if (tombstone !== null) catalog.delete(key, segment.id, tombstone)
      else if (copied) catalog.copy(key, location)
      else catalog.put(key, location)
      each({ key, offsetBytes, valueBytes: value.length, valueCrc, timestampSeconds, tombstone, copied })
    },
  )
}

/** Whether every entry of a closed segment's file can be read and passes its check. */
export function isWhole(storage: Storage, { dataPath, dataBytes, salt }: Segment): boolean {
  try {
    using file = storage.openRead(dataPath)
    const bounds = { syncedBytes: 0, endBytes: dataBytes }
    return scanEntries(file, salt, bounds, () => undefined).goodBytes === dataBytes
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    return false
  }
}
