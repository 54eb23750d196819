import { delay } from '@qsfs/concurrency/clock'
import { decodeEntry, entryBytes } from '../../segment/format.ts'
import { type HintRecord, hintRecords } from '../../segment/hint-format.ts'
import { FileMissing, type ReadFile, type Storage } from '../../segment/storage.ts'
import { HintPages } from '../scan/hint-pages.ts'
import { Slices } from '../scan/slices.ts'
import type { Segment } from '../shelf/segment.ts'
import type { Writer } from '../writer/writer.ts'
import type { Pace } from './pace.ts'

/** Entries this close together are read at once, with what lies between them. */
const gapBytesMax = 32 * 1024
const batchBytesMax = 256 * 1024
/** The loop is held no longer than this, or by one entry, and is then the clients' alone for a while: small values cost more time than
 *  the budget of bytes allows for. */
const sliceMs = 2
const restMs = 4

/** `copied`: nothing in the segment is needed any more. `stopped`: by who asked. `damaged`: an entry that is needed fails its check.
 *  `noRoom`: for the copies. What was copied until then is good. */
export type CopyOutcome = 'copied' | 'stopped' | 'damaged' | 'noRoom'

export interface Copying {
  readonly writer: Writer
  readonly segment: Segment
  /** false: not one entry more. */
  readonly isWanted: () => boolean
  /** The segment's file leaves as soon as the copies are on disk: they may have the room that is kept for others. */
  readonly leavesSoon: boolean
  readonly pace: Pace
}

/** Appends what of a closed local segment is still needed to the open one: values that the keydir finds there, and deletions that
 *  must be remembered. Whether an entry is needed is asked again in the step of the loop that appends it.
 *  @throws StorageError, FormatError of the hint, NamespaceReadOnly; what was copied until then is good */
export async function copyNeeded(copying: Copying): Promise<CopyOutcome> {
  const { writer, segment, pace } = copying
  const { signal, context } = writer.shelf
  const hints = new HintPages(writer.shelf)
  const slices = new Slices(context.clock, sliceMs)
  const rest = async () => {
    await delay(context.clock, restMs, { signal })
    await slices.pause()
  }
  using file = openIfThere(context.storage, segment.dataPath)
  if (file === null) return 'damaged'
  const pageCount = await hints.count(segment, slices)
  for (let page = 0; page < pageCount; page++) {
    for (const { records, fromBytes, toBytes } of batchesOf(copying, await hints.read(segment, page, slices))) {
      const bytes = await file.read(fromBytes, toBytes - fromBytes)
      let copiedBytes = 0
      for (const record of records) {
        if (slices.isOver) await rest()
        const outcome = copyEntry(copying, record, bytes, fromBytes)
        if (outcome === 'copied') copiedBytes += entryBytes(record.key.length, record.valueBytes)
        else if (outcome !== 'notNeeded') return outcome
      }
      await pace.spend(bytes.length + copiedBytes, { signal })
    }
    if (slices.isOver) await rest()
  }
  return copying.isWanted() ? 'copied' : 'stopped'
}

function openIfThere(storage: Storage, path: string): ReadFile | null {
  try {
    return storage.openRead(path)
  } catch (error) {
    if (error instanceof FileMissing) return null
    throw error
  }
}

/** Entries that are needed now, so many as are read at once. */
interface Batch {
  readonly records: HintRecord[]
  readonly fromBytes: number
  toBytes: number
}

function* batchesOf(copying: Copying, hintEntries: Buffer): Generator<Batch> {
  let batch: Batch | null = null
  for (const record of hintRecords(hintEntries)) {
    if (!isNeeded(copying, record)) continue
    const { offsetBytes: fromBytes } = record
    const toBytes = fromBytes + entryBytes(record.key.length, record.valueBytes)
    if (batch !== null && (fromBytes - batch.toBytes > gapBytesMax || toBytes - batch.fromBytes > batchBytesMax)) {
      yield batch
      batch = null
    }
    batch ??= { records: [], fromBytes, toBytes }
    batch.records.push(record)
    batch.toBytes = toBytes
  }
  if (batch !== null) yield batch
}

function isNeeded({ writer, segment }: Copying, { key, offsetBytes, tombstone }: HintRecord): boolean {
  const location = writer.catalog.find(key)
  // A deletion behind a newer value of its key would kill that; and that, or what follows it, says enough.
  if (tombstone !== null) return location === null && segment.life.needs(tombstone, writer.shelf.neighbours)
  return location?.segmentId === segment.id && location.offsetBytes === offsetBytes
}

/** One step of the loop: nothing else is appended between the question and the copy.
 *  @param bytes of the segment from `fromBytes` on */
function copyEntry(copying: Copying, record: HintRecord, bytes: Buffer, fromBytes: number): CopyOutcome | 'notNeeded' {
  const { writer, segment, leavesSoon } = copying
  const { key, offsetBytes, valueBytes, timestampSeconds, tombstone } = record
  if (!copying.isWanted()) return 'stopped'
  if (!isNeeded(copying, record)) return 'notNeeded'
  const entry = decodeEntry(bytes, offsetBytes - fromBytes, { salt: segment.salt, offsetBytes })
  if (
    entry === null ||
    !entry.key.equals(key) ||
    entry.deleted !== (tombstone !== null) ||
    entry.value.length !== valueBytes
  )
    return 'damaged'
  const { room } = writer.shelf.context
  const lengthBytes = entryBytes(key.length, valueBytes)
  if (!room.canCopy(lengthBytes, { leavesSoon, lentBytes: segment.lentBytes })) return 'noRoom'
  rotateWhenFull(writer, lengthBytes)
  writer.appendCopy(key, entry.value, timestampSeconds, tombstone)
  if (tombstone !== null) writer.shelf.get(writer.active.segmentId).life.addCopyOf(segment.life)
  if (leavesSoon) room.lend(lengthBytes, segment)
  writer.shelf.compaction.copiedBytes += lengthBytes
  writer.shelf.context.metrics.compactionCopiedBytes.add(lengthBytes)
  return 'copied'
}

function rotateWhenFull(writer: Writer, lengthBytes: number): void {
  const { active, shelf } = writer
  const isFull = !active.isEmpty && active.sizeBytes + lengthBytes > shelf.context.limits.segmentBytesMax
  if (isFull || !active.appendable) writer.rotate()
}
