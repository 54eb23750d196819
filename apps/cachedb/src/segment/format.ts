import { crc32c, zdbCrc } from '@qsfs/bytes/checksum'
import { layout } from '@qsfs/bytes/layout'
import { WireLimit } from '@qsfs/protocol/cachedb-commands'

/** 0-db's data file, version 3, with our check in fields that 0-db writes and never reads. Drawn in docs/formats/segment.md.
 *  `mark` ‖ `salt` is 0-db's `created`, `incarnation` its `opened`. */
export const FileHeader = layout('segment_header', 28, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  mark: [8, 'bytes', 4],
  salt: [12, 'u32'],
  incarnation: [16, 'bytes', 8],
  fileId: [24, 'u32'],
})

/** Before each key. `check` is 0-db's `previous`. */
export const EntryHeader = layout('segment_entry', 18, {
  keyBytes: [0, 'u8'],
  valueBytes: [1, 'u32'],
  check: [5, 'u32'],
  valueCrc: [9, 'u32'],
  flags: [13, 'u8'],
  timestampSeconds: [14, 'u32'],
})

/** What `check` covers, followed by the key: the place of the entry and the rest of its header. */
const CheckedHeader = layout('segment_entry_check', 22, {
  salt: [0, 'u32'],
  offsetBytes: [4, 'u32'],
  keyBytes: [8, 'u8'],
  valueBytes: [9, 'u32'],
  valueCrc: [13, 'u32'],
  flags: [17, 'u8'],
  timestampSeconds: [18, 'u32'],
})

/** `copied`: an entry that was here before, written again; it counts as no new sequential id. */
export const EntryFlag = { deleted: 1, truncated: 2, copied: 4 } as const
const knownFlags = EntryFlag.deleted | EntryFlag.truncated | EntryFlag.copied

const magic = Buffer.from('DAT0')
const mark = Buffer.from('QSF1')
const version = 3
const unmarked = Buffer.alloc(4)

/** A segment file as its header tells it. `salt` null: made or appended to by 0-db, so its entries carry no check. */
export interface SegmentIdentity {
  readonly segmentId: number
  readonly salt: number | null
  /** 8 bytes. */
  readonly incarnation: Buffer
}

/** An entry and where it lies. `key` and `value` are views of the buffer it was read from. */
export interface Entry {
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly key: Buffer
  readonly value: Buffer
  readonly valueCrc: number
  readonly deleted: boolean
  readonly copied: boolean
  readonly timestampSeconds: number
}

export class FormatError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'FormatError'
  }
}

export function encodeFileHeader({ segmentId, salt, incarnation }: SegmentIdentity & { salt: number }): Buffer {
  return FileHeader.toBuffer({ magic, version, mark, salt, incarnation, fileId: segmentId })
}

/** @throws FormatError when this is no data file of 0-db's version 3 */
export function decodeFileHeader(bytes: Buffer): SegmentIdentity {
  if (bytes.length < FileHeader.sizeBytes) throw new FormatError(`the file header ends after ${bytes.length} bytes`)
  const header = FileHeader.decode(bytes)
  if (!header.magic.equals(magic)) throw new FormatError('the file does not begin with DAT0')
  if (header.version !== version) throw new FormatError(`the data file has version ${header.version}, not ${version}`)
  return {
    segmentId: header.fileId,
    salt: header.mark.equals(mark) ? header.salt : null,
    incarnation: Buffer.copyBytesFrom(header.mark.equals(mark) ? header.incarnation : unmarked),
  }
}

export function entryBytes(keyBytes: number, valueBytes: number): number {
  return EntryHeader.sizeBytes + keyBytes + valueBytes
}

interface EntryFields {
  readonly valueBytes: number
  /** 0-db's checksum of the value. */
  readonly valueCrc: number
  readonly deleted: boolean
  readonly copied?: boolean
  readonly timestampSeconds: number
}

/** Header and key of an entry at `offsetBytes` of the file with this salt; the value follows it on disk. */
export function encodeEntryHead(
  key: Uint8Array,
  value: EntryFields,
  { salt, offsetBytes }: { readonly salt: number; readonly offsetBytes: number },
): Buffer {
  const head = Buffer.allocUnsafe(EntryHeader.sizeBytes + key.length)
  writeEntryHead(key, { ...value, offsetBytes }, salt, head, 0)
  return head
}

/** The same, written to `target` from `at` on. */
export function writeEntryHead(
  key: Uint8Array,
  {
    valueBytes,
    valueCrc,
    deleted,
    copied,
    timestampSeconds,
    offsetBytes,
  }: EntryFields & { readonly offsetBytes: number },
  salt: number,
  target: Buffer,
  at: number,
): void {
  const flags = (deleted ? EntryFlag.deleted : 0) | (copied ? EntryFlag.copied : 0)
  const fields = { keyBytes: key.length, valueBytes, valueCrc, flags, timestampSeconds }
  EntryHeader.encode({ ...fields, check: checkOf(fields, key, { salt, offsetBytes }) }, target, at)
  target.set(key, at + EntryHeader.sizeBytes)
}

/** Decodes and verifies the entry at `at` of `buffer`, whose byte `at` is byte `offsetBytes` of a file with this salt.
 *  @returns null when no good entry lies there: zeros, a torn tail, another place's bytes, damage */
export function decodeEntry(
  buffer: Buffer,
  at: number,
  place: { readonly salt: number | null; readonly offsetBytes: number },
): Entry | null {
  const head = decodeEntryHead(buffer, at, place)
  if (head === null) return null
  const valueAt = at + EntryHeader.sizeBytes + head.keyBytes
  if (valueAt + head.valueBytes > buffer.length) return null
  const value = buffer.subarray(valueAt, valueAt + head.valueBytes)
  // A deletion has no payload, and 0-db writes 0 as its checksum, which is the checksum of nothing.
  if (zdbCrc(value) !== head.valueCrc) return null
  return {
    offsetBytes: place.offsetBytes,
    lengthBytes: entryBytes(head.keyBytes, head.valueBytes),
    key: buffer.subarray(at + EntryHeader.sizeBytes, valueAt),
    value,
    valueCrc: head.valueCrc,
    deleted: (head.flags & EntryFlag.deleted) !== 0,
    copied: (head.flags & EntryFlag.copied) !== 0,
    timestampSeconds: head.timestampSeconds,
  }
}

/** The header at `at` if it may be one: bounds, and the check where the file has one. The value is not looked at. */
function decodeEntryHead(
  buffer: Buffer,
  at: number,
  { salt, offsetBytes }: { readonly salt: number | null; readonly offsetBytes: number },
) {
  if (at + EntryHeader.sizeBytes > buffer.length) return null
  const keyBytes = buffer[at]!
  // Zeros would be a perfect 0-db entry every 18 bytes: a key of no bytes is never valid.
  if (keyBytes === 0 || at + EntryHeader.sizeBytes + keyBytes > buffer.length) return null
  const header = EntryHeader.decode(buffer, at)
  if (header.valueBytes > WireLimit.bulkBytesMax || header.flags > knownFlags) return null
  if ((header.flags & EntryFlag.deleted) !== 0 && header.valueBytes > 0) return null
  if (salt === null) return header
  const key = buffer.subarray(at + EntryHeader.sizeBytes, at + EntryHeader.sizeBytes + keyBytes)
  return checkOf(header, key, { salt, offsetBytes }) === header.check ? header : null
}

interface CheckedFields {
  readonly keyBytes: number
  readonly valueBytes: number
  readonly valueCrc: number
  readonly flags: number
  readonly timestampSeconds: number
}

function checkOf(
  fields: CheckedFields,
  key: Uint8Array,
  { salt, offsetBytes }: { salt: number; offsetBytes: number },
): number {
  const covered = Buffer.allocUnsafe(CheckedHeader.sizeBytes + key.length)
  CheckedHeader.encode({ ...fields, salt, offsetBytes }, covered)
  covered.set(key, CheckedHeader.sizeBytes)
  return crc32c(covered)
}
