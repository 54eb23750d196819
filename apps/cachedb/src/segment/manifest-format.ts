import { crc32c } from '@qsfs/bytes/checksum'
import { layout } from '@qsfs/bytes/layout'
import { FormatError } from './format.ts'

/** Beginning of a namespace's `manifest`: an append-only list of records. Drawn in docs/formats/manifest.md. */
export const ManifestHeader = layout('manifest_header', 20, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  incarnation: [8, 'bytes', 8],
  headerCrc: [16, 'u32'],
})

/** Before each record's body. The CRC covers the incarnation of the header, then length, type and body. */
export const RecordHeader = layout('manifest_record', 7, { crc: [0, 'u32'], bodyBytes: [4, 'u16'], type: [6, 'u8'] })

const magic = Buffer.from('QSM1')
const version = 1

const segment = { segmentId: [0, 'u32'] } as const
const segmentObject = { segmentId: [0, 'u32'], objectId: [4, 'bytes', 16] } as const

/** Body layouts by record type; `settings` is followed by the password's bytes. */
const bodies = {
  settings: layout('manifest_settings', 12, {
    mode: [0, 'u8'],
    flags: [1, 'u8'],
    passwordBytes: [2, 'u16'],
    maxBytes: [4, 'u53'],
  }),
  opens: layout('manifest_opens', 20, {
    ...segment,
    salt: [4, 'u32'],
    previousEndBytes: [8, 'u32'],
    nextId: [12, 'u53'],
  }),
  ends: layout('manifest_ends', 8, { ...segment, endBytes: [4, 'u32'] }),
  synced: layout('manifest_synced', 8, { ...segment, syncedBytes: [4, 'u32'] }),
  closed: layout('manifest_closed', 13, { ...segment, dataBytes: [4, 'u32'], salt: [8, 'u32'], marked: [12, 'u8'] }),
  stored: layout('manifest_stored', 20, segmentObject),
  absent: layout('manifest_absent', 20, segmentObject),
  gone: layout('manifest_gone', 20, segmentObject),
  deleted: layout('manifest_deleted', 4, segment),
  dropping: layout('manifest_dropping', 0, {}),
  flushed: layout('manifest_flushed', 8, { incarnation: [0, 'bytes', 8] }),
  point: layout('manifest_point', 16, { epoch: [0, 'u53'], point: [8, 'u53'] }),
  storing: layout('manifest_storing', 4, segment),
} as const

const typeNumbers = {
  settings: 1,
  opens: 2,
  ends: 3,
  synced: 4,
  closed: 5,
  stored: 6,
  absent: 7,
  gone: 8,
  deleted: 9,
  dropping: 10,
  flushed: 11,
  point: 12,
  storing: 13,
} as const satisfies Record<keyof typeof bodies, number>

/** Not a fact of the namespace but of this file: so many of its bytes were on disk when the record was appended. */
const durableType = 14
const Durable = layout('manifest_durable', 4, { manifestBytes: [0, 'u32'] })

const typeNames = new Map(
  Object.entries(typeNumbers).map(([name, number]) => [number as number, name as keyof typeof bodies]),
)
const noObject = Buffer.alloc(16)
const SettingsFlag = { public: 1, worm: 2 } as const

/** What a manifest says, one fact per record. Object ids are 32 hex digits. */
export type ManifestRecord =
  | {
      readonly type: 'settings'
      readonly mode: 'user' | 'sequential'
      readonly public: boolean
      readonly worm: boolean
      readonly maxBytes: number
      readonly password: string
    }
  /** The segment opens; the one opened before it ends at `previousEndBytes`; the next sequential id is `nextId`. */
  | {
      readonly type: 'opens'
      readonly segmentId: number
      readonly salt: number
      readonly previousEndBytes: number
      readonly nextId: number
    }
  /** Takes back an earlier `previousEndBytes`: the segment counts up to here only. */
  | { readonly type: 'ends'; readonly segmentId: number; readonly endBytes: number }
  /** A lower bound: these bytes were on disk. */
  | { readonly type: 'synced'; readonly segmentId: number; readonly syncedBytes: number }
  | { readonly type: 'closed'; readonly segmentId: number; readonly dataBytes: number; readonly salt: number | null }
  | { readonly type: 'stored' | 'absent'; readonly segmentId: number; readonly objectId: string }
  /** Its object, if any, is owed a deletion until `deleted`. */
  | { readonly type: 'gone'; readonly segmentId: number; readonly objectId: string | null }
  | { readonly type: 'deleted'; readonly segmentId: number }
  /** Its store hook was under way when it was flushed: it may have an object whose id nobody heard. */
  | { readonly type: 'storing'; readonly segmentId: number }
  | { readonly type: 'dropping' }
  | { readonly type: 'flushed'; readonly incarnation: Buffer }
  /** Last epoch and recovery point published; 0 until recovery points are made. */
  | { readonly type: 'point'; readonly epoch: number; readonly point: number }

export function encodeManifestHeader(incarnation: Buffer): Buffer {
  const header = ManifestHeader.toBuffer({ magic, version, incarnation, headerCrc: 0 })
  header.writeUInt32LE(crc32c(header.subarray(0, 16)), 16)
  return header
}

export function encodeRecord(record: ManifestRecord, incarnation: Buffer): Buffer {
  return framed(typeNumbers[record.type], encodeBody(record), incarnation)
}

/** Says that the first `manifestBytes` of the file are on disk: what is bad there from now on is damage, no torn tail. */
export function encodeDurable(manifestBytes: number, incarnation: Buffer): Buffer {
  return framed(durableType, Durable.toBuffer({ manifestBytes }), incarnation)
}

function framed(type: number, body: Buffer, incarnation: Buffer): Buffer {
  const bytes = Buffer.alloc(RecordHeader.sizeBytes + body.length)
  RecordHeader.encode({ crc: 0, bodyBytes: body.length, type }, bytes)
  bytes.set(body, RecordHeader.sizeBytes)
  bytes.writeUInt32LE(crc32c(bytes.subarray(4), crc32c(incarnation)), 0)
  return bytes
}

/** Reads a manifest up to its first bad record, where a crash may have torn it.
 *  @returns the records and the length of what is good
 *  @throws FormatError when the header is bad, a good record is of an unknown kind, or the first bad one was on disk once;
 *  RangeError when a record is too short for its kind */
export function decodeManifest(bytes: Buffer): {
  readonly incarnation: Buffer
  readonly records: readonly ManifestRecord[]
  readonly goodBytes: number
} {
  if (bytes.length < ManifestHeader.sizeBytes)
    throw new FormatError(`the manifest header ends after ${bytes.length} bytes`)
  const header = ManifestHeader.decode(bytes)
  if (!header.magic.equals(magic)) throw new FormatError('the manifest does not begin with QSM1')
  if (crc32c(bytes.subarray(0, 16)) !== header.headerCrc)
    throw new FormatError('the manifest header fails its checksum')
  if (header.version !== version) throw new FormatError(`the manifest has version ${header.version}, not ${version}`)
  const incarnation = Buffer.copyBytesFrom(header.incarnation)
  const seed = crc32c(incarnation)
  const records: ManifestRecord[] = []
  let at = ManifestHeader.sizeBytes
  while (at + RecordHeader.sizeBytes <= bytes.length) {
    const { crc, bodyBytes, type } = RecordHeader.decode(bytes, at)
    const endAt = at + RecordHeader.sizeBytes + bodyBytes
    if (endAt > bytes.length || crc32c(bytes.subarray(at + 4, endAt), seed) !== crc) break
    if (type !== durableType) records.push(decodeBody(type, bytes.subarray(at + RecordHeader.sizeBytes, endAt)))
    at = endAt
  }
  if (durableBytesIn(bytes, at, seed) > at)
    throw new FormatError(`the manifest is damaged at byte ${at}, which was on disk: restore it from a backup`)
  return { incarnation, records, goodBytes: at }
}

/** How much of the manifest was on disk, by what records behind `fromAt` say that can still be read. */
function durableBytesIn(bytes: Buffer, fromAt: number, seed: number): number {
  let durableBytes = 0
  const recordBytes = RecordHeader.sizeBytes + Durable.sizeBytes
  for (let at = fromAt; at + recordBytes <= bytes.length; at++) {
    const { crc, bodyBytes, type } = RecordHeader.decode(bytes, at)
    if (type !== durableType || bodyBytes !== Durable.sizeBytes) continue
    if (crc32c(bytes.subarray(at + 4, at + recordBytes), seed) !== crc) continue
    durableBytes = Math.max(durableBytes, Durable.decode(bytes, at + RecordHeader.sizeBytes).manifestBytes)
  }
  return durableBytes
}

function encodeBody(record: ManifestRecord): Buffer {
  switch (record.type) {
    case 'settings': {
      const password = Buffer.from(record.password, 'latin1')
      const flags = (record.public ? SettingsFlag.public : 0) | (record.worm ? SettingsFlag.worm : 0)
      const fixed = {
        mode: record.mode === 'sequential' ? 1 : 0,
        flags,
        passwordBytes: password.length,
        maxBytes: record.maxBytes,
      }
      return Buffer.concat([bodies.settings.toBuffer(fixed), password])
    }
    case 'opens':
      return bodies.opens.toBuffer(record)
    case 'ends':
      return bodies.ends.toBuffer(record)
    case 'synced':
      return bodies.synced.toBuffer(record)
    case 'closed':
      return bodies.closed.toBuffer({ ...record, salt: record.salt ?? 0, marked: record.salt === null ? 0 : 1 })
    case 'stored':
    case 'absent':
    case 'gone':
      return bodies[record.type].toBuffer({
        segmentId: record.segmentId,
        objectId: record.objectId === null ? noObject : Buffer.from(record.objectId, 'hex'),
      })
    case 'deleted':
    case 'storing':
      return bodies[record.type].toBuffer(record)
    case 'dropping':
      return bodies.dropping.toBuffer({})
    case 'flushed':
      return bodies.flushed.toBuffer(record)
    case 'point':
      return bodies.point.toBuffer(record)
    default:
      return record satisfies never
  }
}

function decodeBody(typeNumber: number, body: Buffer): ManifestRecord {
  const type = typeNames.get(typeNumber)
  if (type === undefined) throw new FormatError(`the manifest holds a record of unknown type ${typeNumber}`)
  switch (type) {
    case 'settings': {
      const { mode, flags, passwordBytes, maxBytes } = bodies.settings.decode(body)
      const password = body
        .subarray(bodies.settings.sizeBytes, bodies.settings.sizeBytes + passwordBytes)
        .toString('latin1')
      return {
        type,
        mode: mode === 1 ? 'sequential' : 'user',
        public: (flags & SettingsFlag.public) !== 0,
        worm: (flags & SettingsFlag.worm) !== 0,
        maxBytes,
        password,
      }
    }
    case 'opens':
      return { type, ...bodies.opens.decode(body) }
    case 'ends':
      return { type, ...bodies.ends.decode(body) }
    case 'synced':
      return { type, ...bodies.synced.decode(body) }
    case 'closed': {
      const { segmentId, dataBytes, salt, marked } = bodies.closed.decode(body)
      return { type, segmentId, dataBytes, salt: marked === 1 ? salt : null }
    }
    case 'stored':
    case 'absent': {
      const { segmentId, objectId } = bodies[type].decode(body)
      return { type, segmentId, objectId: objectId.toString('hex') }
    }
    case 'gone': {
      const { segmentId, objectId } = bodies.gone.decode(body)
      return { type, segmentId, objectId: objectId.equals(noObject) ? null : objectId.toString('hex') }
    }
    case 'deleted':
    case 'storing':
      return { type, ...bodies[type].decode(body) }
    case 'dropping':
      return { type }
    case 'flushed':
      return { type, incarnation: Buffer.copyBytesFrom(bodies.flushed.decode(body).incarnation) }
    case 'point':
      return { type, ...bodies.point.decode(body) }
    default:
      return type satisfies never
  }
}
