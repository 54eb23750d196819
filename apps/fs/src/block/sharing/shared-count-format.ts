import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../../errors.ts'
import type { BlockId } from '../../store/store.ts'

/** docs/formats/extents.md: records `s<k>` count the windows of files that name a shared value, for ids from k × 512 on. So a record has
 *  4 KiB at most, and an operation may touch a few. */
export const idsPerSharedRecord = 512

const RecordHeader = layout('shared counts', 16, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  count: [6, 'u16'],
  recordIndex: [8, 'u53'],
})
const recordMagic = Buffer.from('QSHR')
const recordVersion = 1
const CountLayout = layout('shared count', 8, { index: [0, 'u16'], reserved: [2, 'u16'], references: [4, 'u32'] })

/** @param references how many windows name each id; ids that are not shared are left out */
export function encodeSharedCounts(recordIndex: number, references: ReadonlyMap<BlockId, number>): Buffer | null {
  if (references.size === 0) return null
  const bytes = Buffer.allocUnsafeSlow(RecordHeader.sizeBytes + references.size * CountLayout.sizeBytes)
  RecordHeader.encode({ magic: recordMagic, version: recordVersion, count: references.size, recordIndex }, bytes)
  let at = RecordHeader.sizeBytes
  for (const [id, count] of [...references].sort(([a], [b]) => a - b)) {
    CountLayout.encode({ index: id - recordIndex * idsPerSharedRecord, reserved: 0, references: count }, bytes, at)
    at += CountLayout.sizeBytes
  }
  return bytes
}

/** @throws FormatError for anything that encodeSharedCounts could not have made */
export function decodeSharedCounts(recordIndex: number, bytes: Buffer | null): Map<BlockId, number> {
  const references = new Map<BlockId, number>()
  if (bytes === null) return references
  const header = RecordHeader.decode(bytes)
  if (!header.magic.equals(recordMagic) || header.version !== recordVersion) {
    throw new FormatError('shared counts', 'not version 1')
  }
  const expectedBytes = RecordHeader.sizeBytes + header.count * CountLayout.sizeBytes
  if (header.recordIndex !== recordIndex || bytes.length !== expectedBytes) {
    throw new FormatError('shared counts', 'of another place')
  }
  for (let at = RecordHeader.sizeBytes; at < bytes.length; at += CountLayout.sizeBytes) {
    const { index, references: count } = CountLayout.decode(bytes, at)
    if (index >= idsPerSharedRecord) throw new FormatError('shared counts', `index ${index}`)
    references.set(recordIndex * idsPerSharedRecord + index, count)
  }
  return references
}
