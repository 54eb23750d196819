import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import { Refused, SegmentUnavailable } from '../errors.ts'
import { decodeEntry, EntryFlag, EntryHeader, entryBytes } from '../segment/format.ts'
import { type ReadFile, StorageError } from '../segment/storage.ts'
import type { EntryPlace } from './scan/cursor.ts'
import type { Segment } from './shelf/segment.ts'
import type { Shelf } from './shelf/shelf.ts'

/** An entry as its data file holds it. */
export interface RawEntry {
  readonly key: Buffer
  /** What 0-db's field `previous` holds: in our segments the check of the entry. */
  readonly previous: number
  readonly valueCrc: number
  readonly flags: number
  readonly timestampSeconds: number
  /** null for a deletion. */
  readonly value: Buffer | null
}

/** DATA RAW: the entry that begins at this place, deletions included. Brings an absent segment back.
 *  @throws Refused with 0-db's texts: 'EOF' behind the last entry and for segments that are gone, 'Invalid Request' for a file that
 *  cannot be had, 'Unexpected Internal Error' where no whole entry begins */
export async function readRawEntry(shelf: Shelf, { segmentId, offsetBytes }: EntryPlace): Promise<RawEntry> {
  const segment = shelf.find(segmentId)
  if (segment === undefined)
    throw new Refused(segmentId <= shelf.manifest.state.lastSegmentId ? 'EOF' : 'Invalid Request')
  if (offsetBytes >= segment.dataBytes) throw new Refused('EOF')
  segment.pins++
  try {
    if (shelf.noticeLoss(segment) || !segment.isLocal) await shelf.restore(segment)
    segment.lastReadMs = shelf.context.clock.monotonicMs()
    using file = shelf.context.storage.openRead(segment.dataPath)
    return await read(file, segment, offsetBytes)
  } catch (error) {
    if (error instanceof SegmentUnavailable || error instanceof StorageError)
      throw new Refused('Invalid Request', error)
    throw error
  } finally {
    segment.pins--
    shelf.settled(segment)
  }
}

async function read(file: ReadFile, { salt, dataBytes }: Segment, offsetBytes: number): Promise<RawEntry> {
  const head = await file.read(offsetBytes, EntryHeader.sizeBytes)
  if (head.length === EntryHeader.sizeBytes) {
    const { keyBytes, valueBytes, check, flags } = EntryHeader.decode(head)
    const lengthBytes = entryBytes(keyBytes, valueBytes)
    // Compared before it sizes an allocation.
    const mayBeOne = valueBytes <= WireLimit.bulkBytesMax && offsetBytes + lengthBytes <= dataBytes
    const bytes = mayBeOne ? await file.read(offsetBytes, lengthBytes) : head
    const entry = decodeEntry(bytes, 0, { salt, offsetBytes })
    if (entry !== null) {
      const { valueCrc, timestampSeconds, deleted, value } = entry
      // The value is a view of the reader's memory, the key is not: a reply gives such memory back once.
      const key = Buffer.copyBytesFrom(entry.key)
      const ownFlags = flags & (EntryFlag.deleted | EntryFlag.truncated)
      return { key, previous: check, valueCrc, flags: ownFlags, timestampSeconds, value: deleted ? null : value }
    }
  }
  throw new Refused('Unexpected Internal Error')
}
