import { join } from 'node:path'
import { FileHeader } from '../../segment/format.ts'
import type { ManifestSegment } from '../manifest/manifest-state.ts'
import { hasFile } from '../manifest/segment-state.ts'
import type { Shelf } from '../shelf/shelf.ts'
import { cutPath, isCut } from './cuts.ts'

/** Files that count are the manifest's; everything else was left behind by a crash or a hook. Bytes that were cut are kept, and so
 *  are those of a segment that was never opened as far as the manifest knows: perhaps it is the manifest that was damaged. */
export function removeStrays({ directory, manifest, cuts, context: { storage, log } }: Shelf): void {
  const { segments, lastSegmentId } = manifest.state
  for (const { name, isDirectory, sizeBytes } of storage.list(directory)) {
    if (isCut(name)) cuts.add(sizeBytes)
    const match = /^([dh])(\d+)$/.exec(name)
    const segment = match === null ? undefined : segments.get(Number(match[2]))
    const isData = match?.[1] === 'd'
    const counts =
      segment !== undefined &&
      ((isData ? hasFile(segment.state) : segment.state !== 'gone' && segment.state !== 'open') || isAskedFor(segment))
    const isOurs = match !== null || name.endsWith('.tmp') || name.endsWith('.part')
    if (!isOurs || isDirectory || counts) continue
    const segmentId = Number(match?.[2])
    if (isData && segmentId > lastSegmentId && sizeBytes > FileHeader.sizeBytes) {
      log.error('segment.unknown', { directory, segmentId, sizeBytes })
      storage.rename(join(directory, name), cutPath(directory, name, 0))
      cuts.add(sizeBytes)
    } else storage.remove(join(directory, name))
  }
}

/** The store must be asked with its files whether it has an object of them. */
function isAskedFor({ state, objectId, isInDoubt }: ManifestSegment): boolean {
  return state === 'gone' && objectId === null && isInDoubt
}
