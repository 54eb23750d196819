import { crc32c } from '@qsfs/bytes/checksum'
import { layout } from '@qsfs/bytes/layout'
import { FormatError } from './format.ts'

/** Beginning of a hint file `h<N>`: all that a closed segment's entries say, but their values. Drawn in docs/formats/hint.md. */
export const HintHeader = layout('hint_header', 72, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  incarnation: [8, 'bytes', 8],
  segmentId: [16, 'u32'],
  salt: [20, 'u32'],
  /** 1: the segment's entries carry the check, and `salt` is its salt. */
  marked: [24, 'u32'],
  dataBytes: [28, 'u32'],
  /** The next sequential id when the segment was opened, and when it was closed. */
  firstId: [32, 'u53'],
  nextId: [40, 'u53'],
  entryCount: [48, 'u32'],
  entriesBytes: [52, 'u53'],
  entriesCrc: [60, 'u32'],
  reserved: [64, 'u32'],
  /** CRC-32C of the 68 bytes before it. */
  headerCrc: [68, 'u32'],
})

/** Before each key. */
export const HintEntry = layout('hint_entry', 22, {
  keyBytes: [0, 'u8'],
  flags: [1, 'u8'],
  offsetBytes: [2, 'u32'],
  valueBytes: [6, 'u32'],
  valueCrc: [10, 'u32'],
  timestampSeconds: [14, 'u32'],
  /** Of a tombstone: the segment that decides how long it is needed (`killsOne`: that of the one value it killed; otherwise
   *  that of the original tombstone, needed while any older segment exists). 0 for a value. */
  origin: [18, 'u32'],
})

export const HintFlag = { deleted: 1, killsOne: 2, copied: 4 } as const

const { offsets } = HintEntry

const magic = Buffer.from('QSH1')
const version = 1

export interface HintRecord {
  readonly key: Buffer
  readonly offsetBytes: number
  readonly valueBytes: number
  readonly valueCrc: number
  readonly timestampSeconds: number
  readonly tombstone: Tombstone | null
  /** Written again from another segment: it counts as no new sequential id. */
  readonly copied: boolean
}

/** How long a deletion must be remembered: see HintEntry.origin. */
export interface Tombstone {
  readonly killsOne: boolean
  readonly originSegmentId: number
}

export interface HintIdentity {
  readonly segmentId: number
  readonly salt: number | null
  /** 8 bytes. */
  readonly incarnation: Buffer
  readonly dataBytes: number
  readonly firstId: number
  readonly nextId: number
}

/** The entries of one segment, collected in append order; the open segment's index until it is closed. */
export class HintEntries {
  #bytes: Buffer = Buffer.allocUnsafeSlow(4096)
  #usedBytes = 0
  #count = 0

  get count(): number {
    return this.#count
  }

  /** A view, valid until the next `add`. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#usedBytes)
  }

  add(record: HintRecord): void {
    const needed = this.#usedBytes + HintEntry.sizeBytes + record.key.length
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, this.#usedBytes)
      this.#bytes = grown
    }
    HintEntry.encode(
      {
        keyBytes: record.key.length,
        flags: flagsOf(record),
        offsetBytes: record.offsetBytes,
        valueBytes: record.valueBytes,
        valueCrc: record.valueCrc,
        timestampSeconds: record.timestampSeconds,
        origin: record.tombstone?.originSegmentId ?? 0,
      },
      this.#bytes,
      this.#usedBytes,
    )
    this.#bytes.set(record.key, this.#usedBytes + HintEntry.sizeBytes)
    this.#usedBytes = needed
    this.#count++
  }
}

function flagsOf({ tombstone, copied }: HintRecord): number {
  const ofTombstone = tombstone === null ? 0 : HintFlag.deleted | (tombstone.killsOne ? HintFlag.killsOne : 0)
  return ofTombstone | (copied ? HintFlag.copied : 0)
}

/** The parts of a hint file, for one `publish`. */
export function encodeHint(identity: HintIdentity, entries: HintEntries): readonly Buffer[] {
  const header = HintHeader.toBuffer({
    magic,
    version,
    incarnation: identity.incarnation,
    segmentId: identity.segmentId,
    salt: identity.salt ?? 0,
    marked: identity.salt === null ? 0 : 1,
    dataBytes: identity.dataBytes,
    firstId: identity.firstId,
    nextId: identity.nextId,
    entryCount: entries.count,
    entriesBytes: entries.bytes.length,
    entriesCrc: crc32c(entries.bytes),
    reserved: 0,
    headerCrc: 0,
  })
  header.writeUInt32LE(crc32c(header.subarray(0, header.length - 4)), header.length - 4)
  return [header, entries.bytes]
}

export interface HintHead extends HintIdentity {
  readonly entryCount: number
  readonly entriesBytes: number
  readonly entriesCrc: number
}

/** The beginning of a hint file, for whoever reads the entries in pieces.
 *  @throws FormatError when a byte of it is not what was written */
export function decodeHintHead(bytes: Buffer): HintHead {
  if (bytes.length < HintHeader.sizeBytes) throw new FormatError(`the hint header ends after ${bytes.length} bytes`)
  if (!bytes.subarray(0, 4).equals(magic)) throw new FormatError('the file does not begin with QSH1')
  if (crc32c(bytes.subarray(0, HintHeader.sizeBytes - 4)) !== bytes.readUInt32LE(HintHeader.sizeBytes - 4)) {
    throw new FormatError('the hint header fails its checksum')
  }
  const header = HintHeader.decode(bytes)
  if (header.version !== version) throw new FormatError(`the hint file has version ${header.version}, not ${version}`)
  return {
    segmentId: header.segmentId,
    salt: header.marked === 1 ? header.salt : null,
    incarnation: Buffer.copyBytesFrom(header.incarnation),
    dataBytes: header.dataBytes,
    firstId: header.firstId,
    nextId: header.nextId,
    entryCount: header.entryCount,
    entriesBytes: header.entriesBytes,
    entriesCrc: header.entriesCrc,
  }
}

/** @throws FormatError when a byte of it is not what was written */
export function decodeHint(bytes: Buffer): HintIdentity & { readonly entryCount: number; readonly entries: Buffer } {
  const { entriesBytes, entriesCrc, ...head } = decodeHintHead(bytes)
  const entries = bytes.subarray(HintHeader.sizeBytes)
  if (entries.length !== entriesBytes)
    throw new FormatError(`the hint holds ${entries.length} bytes of entries, not ${entriesBytes}`)
  if (crc32c(entries) !== entriesCrc) throw new FormatError('the hint entries fail their checksum')
  return { ...head, entries }
}

/** Walks encoded entries as `hintRecords` does, without an object for each: its fields are those of the entry it stands on. */
export class HintCursor {
  readonly bytes: Buffer
  readonly #view: DataView
  #at = 0
  #nextAt = 0

  constructor(entries: Buffer) {
    this.bytes = entries
    this.#view = new DataView(entries.buffer, entries.byteOffset, entries.length)
  }

  /** @returns false behind the last one
   *  @throws FormatError when an entry reaches beyond the end */
  next(): boolean {
    this.#at = this.#nextAt
    if (this.#at >= this.bytes.length) return false
    this.#nextAt = this.#at + HintEntry.sizeBytes + this.keyBytes
    if (this.#nextAt > this.bytes.length) throw new FormatError(`the hint entry at ${this.#at} reaches beyond the end`)
    return true
  }

  get keyAt(): number {
    return this.#at + HintEntry.sizeBytes
  }

  get keyBytes(): number {
    return this.bytes[this.#at]!
  }

  get offsetBytes(): number {
    return this.#view.getUint32(this.#at + offsets.offsetBytes, true)
  }

  get valueBytes(): number {
    return this.#view.getUint32(this.#at + offsets.valueBytes, true)
  }

  get valueCrc(): number {
    return this.#view.getUint32(this.#at + offsets.valueCrc, true)
  }

  get timestampSeconds(): number {
    return this.#view.getUint32(this.#at + offsets.timestampSeconds, true)
  }

  /** A value that is no copy. */
  get isNewValue(): boolean {
    return this.bytes[this.#at + offsets.flags] === 0
  }

  /** The same as an object. */
  get record(): HintRecord {
    return recordAt(this.bytes, this.#at)
  }
}

/** Walks encoded entries. Keys are views of `entries`.
 *  @param at where to begin: 0, or a `nextAt` of an earlier walk
 *  @throws FormatError when an entry reaches beyond the end */
export function* hintRecords(entries: Buffer, at = 0): Generator<HintRecord & { readonly nextAt: number }> {
  while (at < entries.length) {
    const keyAt = at + HintEntry.sizeBytes
    const nextAt = keyAt + entries[at]!
    if (nextAt > entries.length) throw new FormatError(`the hint entry at ${at} reaches beyond the end`)
    yield { ...recordAt(entries, at), nextAt }
    at = nextAt
  }
}

function recordAt(entries: Buffer, at: number): HintRecord {
  const { flags, keyBytes, origin, ...entry } = HintEntry.decode(entries, at)
  const keyAt = at + HintEntry.sizeBytes
  const isDeleted = (flags & HintFlag.deleted) !== 0
  return {
    ...entry,
    key: entries.subarray(keyAt, keyAt + keyBytes),
    tombstone: isDeleted ? { killsOne: (flags & HintFlag.killsOne) !== 0, originSegmentId: origin } : null,
    copied: (flags & HintFlag.copied) !== 0,
  }
}
