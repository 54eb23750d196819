import { crc32c } from '@qsfs/bytes/checksum'
import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../../segment/format.ts'

/** Beginning of a point file `p<number>`. Drawn in docs/formats/point.md. */
export const PointHeader = layout('point_header', 64, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  number: [8, 'u53'],
  /** The point published before; 0: none. */
  previous: [16, 'u53'],
  epoch: [24, 'u53'],
  /** Of the cut. */
  timestampSeconds: [32, 'u53'],
  namespaceCount: [40, 'u32'],
  bodyBytes: [44, 'u53'],
  bodyCrc: [52, 'u32'],
  reserved: [56, 'u32'],
  /** CRC-32C of the 60 bytes before it. */
  headerCrc: [60, 'u32'],
})

/** Before each namespace's name, password and segments. */
export const PointNamespaceHeader = layout('point_namespace', 36, {
  incarnation: [0, 'bytes', 8],
  nextId: [8, 'u53'],
  maxBytes: [16, 'u53'],
  segmentCount: [24, 'u32'],
  nameBytes: [28, 'u16'],
  passwordBytes: [30, 'u16'],
  mode: [32, 'u8'],
  flags: [33, 'u8'],
  reserved: [34, 'u16'],
})

export const PointSegmentEntry = layout('point_segment', 29, {
  segmentId: [0, 'u32'],
  dataBytes: [4, 'u32'],
  salt: [8, 'u32'],
  /** 1: the segment's entries carry the check, and `salt` is its salt. */
  marked: [12, 'u8'],
  objectId: [13, 'bytes', 16],
})

/** A state of some namespaces that existed in one instant, as the objects that hold it. */
export interface Point {
  readonly number: number
  readonly previous: number
  readonly epoch: number
  readonly timestampSeconds: number
  readonly namespaces: readonly PointNamespace[]
}

export interface PointNamespace {
  readonly name: string
  /** 8 bytes. */
  readonly incarnation: Buffer
  readonly nextId: number
  readonly settings: PointSettings
  /** By id, ascending. */
  readonly segments: readonly PointSegment[]
}

export interface PointSettings {
  readonly mode: 'user' | 'sequential'
  readonly public: boolean
  readonly worm: boolean
  readonly maxBytes: number
  /** One character per byte. */
  readonly password: string
}

export interface PointSegment {
  readonly segmentId: number
  readonly dataBytes: number
  readonly salt: number | null
  /** 32 hex digits. */
  readonly objectId: string
}

/** Nine million segments; at 32 MiB each, 280 TiB. */
export const pointBytesMax = 256 * 1024 * 1024

const magic = Buffer.from('QSP1')
const version = 1
const SettingsFlag = { public: 1, worm: 2 } as const
const crcAt = PointHeader.sizeBytes - 4
const objectIdBytes = 16
/** Half a microsecond each. */
const segmentsPerPiece = 4096

/** What follows the header, in pieces of at most some milliseconds each. */
export function* pointBody({ namespaces }: Point): Generator<Buffer> {
  for (const namespace of namespaces) {
    yield encodeNamespace(namespace)
    for (let at = 0; at < namespace.segments.length; at += segmentsPerPiece)
      yield encodeSegments(namespace.segments.slice(at, at + segmentsPerPiece))
  }
}

/** What comes before these bytes. */
export function pointHeader(point: Point, body: readonly Buffer[]): Buffer {
  const header = PointHeader.toBuffer({
    magic,
    version,
    number: point.number,
    previous: point.previous,
    epoch: point.epoch,
    timestampSeconds: point.timestampSeconds,
    namespaceCount: point.namespaces.length,
    bodyBytes: body.reduce((sum, { length }) => sum + length, 0),
    bodyCrc: body.reduce((crc, piece) => crc32c(piece, crc), 0),
    reserved: 0,
    headerCrc: 0,
  })
  header.writeUInt32LE(crc32c(header.subarray(0, crcAt)), crcAt)
  return header
}

/** @throws FormatError when a byte of it is not what was written */
export function decodePoint(bytes: Buffer): Point {
  try {
    return decodeChecked(bytes)
  } catch (error) {
    // A number beyond what a number holds exactly: nobody wrote that.
    throw error instanceof RangeError ? new FormatError(error.message, error) : error
  }
}

function decodeChecked(bytes: Buffer): Point {
  if (bytes.length < PointHeader.sizeBytes) throw new FormatError(`the point header ends after ${bytes.length} bytes`)
  if (!bytes.subarray(0, 4).equals(magic)) throw new FormatError('the file does not begin with QSP1')
  if (crc32c(bytes.subarray(0, crcAt)) !== bytes.readUInt32LE(crcAt))
    throw new FormatError('the point header fails its checksum')
  const header = PointHeader.decode(bytes)
  if (header.version !== version) throw new FormatError(`the point has version ${header.version}, not ${version}`)
  const body = bytes.subarray(PointHeader.sizeBytes)
  if (body.length !== header.bodyBytes)
    throw new FormatError(`the point holds ${body.length} bytes, not ${header.bodyBytes}`)
  if (crc32c(body) !== header.bodyCrc) throw new FormatError('the point fails its checksum')
  const namespaces: PointNamespace[] = []
  let at = 0
  // Each takes bytes of the body, so a count beyond what it holds ends in an error soon.
  for (let index = 0; index < header.namespaceCount; index++) {
    const { namespace, nextAt } = decodeNamespace(body, at)
    namespaces.push(namespace)
    at = nextAt
  }
  if (at !== body.length) throw new FormatError(`the point goes on for ${body.length - at} bytes behind its namespaces`)
  const { number, previous, epoch, timestampSeconds } = header
  return { number, previous, epoch, timestampSeconds, namespaces }
}

function encodeNamespace({ name, incarnation, nextId, settings, segments }: PointNamespace): Buffer {
  const nameBytes = Buffer.from(name)
  const password = Buffer.from(settings.password, 'latin1')
  const header = PointNamespaceHeader.toBuffer({
    incarnation,
    nextId,
    maxBytes: settings.maxBytes,
    segmentCount: segments.length,
    nameBytes: nameBytes.length,
    passwordBytes: password.length,
    mode: settings.mode === 'sequential' ? 1 : 0,
    flags: (settings.public ? SettingsFlag.public : 0) | (settings.worm ? SettingsFlag.worm : 0),
    reserved: 0,
  })
  return Buffer.concat([header, nameBytes, password])
}

function encodeSegments(segments: readonly PointSegment[]): Buffer {
  const entries = Buffer.alloc(segments.length * PointSegmentEntry.sizeBytes)
  const objectId = Buffer.alloc(objectIdBytes)
  for (const [index, { segmentId, dataBytes, salt, objectId: hex }] of segments.entries()) {
    objectId.write(hex, 'hex')
    const fields = { segmentId, dataBytes, salt: salt ?? 0, marked: salt === null ? 0 : 1, objectId }
    PointSegmentEntry.encode(fields, entries, index * PointSegmentEntry.sizeBytes)
  }
  return entries
}

function decodeNamespace(body: Buffer, at: number): { namespace: PointNamespace; nextAt: number } {
  if (body.length - at < PointNamespaceHeader.sizeBytes) throw new FormatError(`the namespace at ${at} is cut off`)
  const header = PointNamespaceHeader.decode(body, at)
  const nameAt = at + PointNamespaceHeader.sizeBytes
  const passwordAt = nameAt + header.nameBytes
  const segmentsAt = passwordAt + header.passwordBytes
  const nextAt = segmentsAt + header.segmentCount * PointSegmentEntry.sizeBytes
  if (nextAt > body.length) throw new FormatError(`the namespace at ${at} reaches beyond the end`)
  const segments: PointSegment[] = []
  for (let entryAt = segmentsAt; entryAt < nextAt; entryAt += PointSegmentEntry.sizeBytes) {
    const { segmentId, dataBytes, salt, marked, objectId } = PointSegmentEntry.decode(body, entryAt)
    if (segmentId <= (segments.at(-1)?.segmentId ?? -1)) throw new FormatError(`segment ${segmentId} is out of order`)
    segments.push({ segmentId, dataBytes, salt: marked === 1 ? salt : null, objectId: objectId.toString('hex') })
  }
  const settings = {
    mode: header.mode === 1 ? ('sequential' as const) : ('user' as const),
    public: (header.flags & SettingsFlag.public) !== 0,
    worm: (header.flags & SettingsFlag.worm) !== 0,
    maxBytes: header.maxBytes,
    password: body.toString('latin1', passwordAt, segmentsAt),
  }
  const name = body.toString('utf8', nameAt, passwordAt)
  const incarnation = Buffer.copyBytesFrom(header.incarnation)
  return { namespace: { name, incarnation, nextId: header.nextId, settings, segments }, nextAt }
}
