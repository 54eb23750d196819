import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../errors.ts'

/** Why an inode is on the list of work that a crash must not forget. */
export const OrphanReason = {
  /** It has no name any more: it goes when nobody has it open. */
  unlinked: 1,
  /** It was cut: extents beyond its size are being freed. */
  trimmed: 2,
} as const
export type OrphanReason = (typeof OrphanReason)[keyof typeof OrphanReason]

export interface Orphan {
  readonly nodeId: number
  readonly reason: OrphanReason
  /** Of the mount that made it one: a later mount holds nothing open of it. */
  readonly session: number
}

/** docs/formats/orphan.md: records `o0`, `o1`, …, each with up to 256 orphans. */
export const orphansPerRecord = 256
const RecordHeader = layout('orphans', 16, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  count: [6, 'u16'],
  recordIndex: [8, 'u53'],
})
const recordMagic = Buffer.from('QORP')
const recordVersion = 1
const OrphanLayout = layout('orphan', 24, {
  nodeId: [0, 'u53'],
  session: [8, 'u53'],
  reason: [16, 'u8'],
  reserved: [17, 'bytes', 7],
})
const zeros = Buffer.alloc(7)

export function encodeOrphans(recordIndex: number, orphans: Iterable<Orphan>): Buffer | null {
  const all = [...orphans]
  if (all.length === 0) return null
  const bytes = Buffer.allocUnsafeSlow(RecordHeader.sizeBytes + all.length * OrphanLayout.sizeBytes)
  RecordHeader.encode({ magic: recordMagic, version: recordVersion, count: all.length, recordIndex }, bytes)
  all.forEach((orphan, index) => {
    OrphanLayout.encode({ ...orphan, reserved: zeros }, bytes, RecordHeader.sizeBytes + index * OrphanLayout.sizeBytes)
  })
  return bytes
}

/** @throws FormatError for anything that encodeOrphans could not have made */
export function decodeOrphans(recordIndex: number, bytes: Buffer | null): Orphan[] {
  if (bytes === null) return []
  const header = RecordHeader.decode(bytes)
  if (!header.magic.equals(recordMagic) || header.version !== recordVersion)
    throw new FormatError('orphans', 'not version 1')
  if (header.recordIndex !== recordIndex || header.count > orphansPerRecord)
    throw new FormatError('orphans', 'of another place')
  if (bytes.length !== RecordHeader.sizeBytes + header.count * OrphanLayout.sizeBytes)
    throw new FormatError('orphans', 'length')
  return Array.from({ length: header.count }, (_, index) => {
    const { nodeId, session, reason } = OrphanLayout.decode(
      bytes,
      RecordHeader.sizeBytes + index * OrphanLayout.sizeBytes,
    )
    if (reason !== OrphanReason.unlinked && reason !== OrphanReason.trimmed)
      throw new FormatError('orphans', `reason ${reason}`)
    return { nodeId, session, reason }
  })
}
