import { FormatError } from '../../segment/format.ts'
import { decodeHint, decodeHintHead, encodeHint, type HintEntries, HintHeader } from '../../segment/hint-format.ts'
import { type Storage, StorageError } from '../../segment/storage.ts'
import type { Segment } from './segment.ts'
import type { Shelf } from './shelf.ts'

export type Hint = ReturnType<typeof decodeHint>

/** Publishes the hint of a segment that takes no more entries. */
export async function publishHint(
  shelf: Shelf,
  segment: Segment,
  {
    dataBytes,
    nextId,
    entries,
  }: { readonly dataBytes: number; readonly nextId: number; readonly entries: HintEntries },
): Promise<void> {
  const { id: segmentId, salt, firstId } = segment
  const identity = { segmentId, salt, incarnation: shelf.manifest.state.incarnation, dataBytes, firstId, nextId }
  await shelf.context.storage.publish(segment.hintPath, encodeHint(identity, entries))
}

/** Reads a whole hint file.
 *  @throws FormatError when it is not the hint of this segment, FileMissing */
export function readHint(storage: Storage, segment: Pick<Segment, 'hintPath' | 'id' | 'salt' | 'dataBytes'>): Hint {
  using file = storage.openRead(segment.hintPath)
  const hint = decodeHint(file.readSync(0, file.sizeBytes))
  if (hint.segmentId !== segment.id || hint.salt !== segment.salt || hint.dataBytes !== segment.dataBytes) {
    throw new FormatError(`${segment.hintPath} is the hint of another segment`)
  }
  return hint
}

/** The hint, or null when it is missing, damaged or unreadable and must be made again. */
export function readHintIfGood(
  storage: Storage,
  segment: Pick<Segment, 'hintPath' | 'id' | 'salt' | 'dataBytes'>,
): Hint | null {
  try {
    return readHint(storage, segment)
  } catch (error) {
    if (error instanceof FormatError || error instanceof StorageError) return null
    throw error
  }
}

/** How many entries a hint file says it has; 0 when it is missing, damaged or unreadable. */
export function entriesInHint(storage: Storage, path: string): number {
  try {
    using file = storage.openRead(path)
    return decodeHintHead(file.readSync(0, HintHeader.sizeBytes)).entryCount
  } catch (error) {
    if (error instanceof FormatError || error instanceof StorageError) return 0
    throw error
  }
}
