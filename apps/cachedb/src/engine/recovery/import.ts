import { join } from 'node:path'
import { decodeFileHeader, FileHeader, FormatError } from '../../segment/format.ts'
import type { ManifestRecord } from '../../segment/manifest-format.ts'
import type { Storage } from '../../segment/storage.ts'

/** The data files of a directory that 0-db wrote, as closed segments: `d0`, `d1`, … without a manifest.
 *  @throws FormatError when one is no data file, or is ours and so the manifest was lost */
export function importSegments(storage: Storage, directory: string): readonly ManifestRecord[] {
  const segmentIds = storage
    .list(directory)
    .map(({ name }) => /^d(\d+)$/.exec(name)?.[1])
    .filter(digits => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b)
  return segmentIds.flatMap((segmentId): readonly ManifestRecord[] => {
    // 0-db makes the file before its header, and may die between.
    if (storage.sizeBytes(join(directory, `d${segmentId}`))! < FileHeader.sizeBytes) return []
    using file = storage.openRead(join(directory, `d${segmentId}`))
    const identity = decodeFileHeader(file.readSync(0, FileHeader.sizeBytes))
    if (identity.salt !== null)
      throw new FormatError(`${directory} holds segments of cachedb and no manifest: it was lost`)
    return [
      { type: 'opens', segmentId, salt: 0, previousEndBytes: 0, nextId: 0 },
      { type: 'closed', segmentId, dataBytes: file.sizeBytes, salt: null },
    ]
  })
}
