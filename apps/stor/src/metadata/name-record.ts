import assert from 'node:assert'
import { layout } from '@qsfs/bytes/layout'
import { StorError } from '../errors.ts'

const MAGIC = Buffer.from('QSNR')
const VERSION = 1
/** As long as Linux lets a path be. */
export const NAME_BYTES_MAX = 4096
const State = { live: 1, deleted: 2 } as const

/** What stands before the name. Page: docs/formats/metadata.md. */
const NameRecordHeader = layout('name_record', 64, {
  magic: [0, 'bytes', 4],
  version: [4, 'u8'],
  state: [5, 'u8'],
  nameBytes: [6, 'u16'],
  sizeBytes: [8, 'u53'],
  objectId: [16, 'bytes', 16],
  sha256: [32, 'bytes', 32],
})

/** Which object has a name now, and enough of it to see that the same bytes are being stored again. */
export interface NameRecord {
  readonly name: string
  readonly state: 'live' | 'deleted'
  readonly objectId: Buffer
  readonly sizeBytes: number
  /** SHA-256 of the plain file. */
  readonly sha256: Buffer
}

/** Plain bytes; the meta store seals them. */
export function encodeNameRecord({ name, state, objectId, sizeBytes, sha256 }: NameRecord): Buffer {
  const nameBytes = Buffer.from(name)
  assert(nameBytes.length <= NAME_BYTES_MAX, 'objectNameOf refuses longer names')
  const header = NameRecordHeader.toBuffer({
    magic: MAGIC,
    version: VERSION,
    state: State[state],
    nameBytes: nameBytes.length,
    sizeBytes,
    objectId,
    sha256,
  })
  return Buffer.concat([header, nameBytes])
}

/** @throws StorError 'damaged' */
export function decodeNameRecord(bytes: Buffer): NameRecord {
  if (bytes.length < NameRecordHeader.sizeBytes) throw new StorError('damaged', 'a name record is cut short')
  const header = NameRecordHeader.decode(bytes)
  const state = header.state === State.live ? 'live' : header.state === State.deleted ? 'deleted' : null
  const whole = bytes.length === NameRecordHeader.sizeBytes + header.nameBytes
  if (!header.magic.equals(MAGIC) || header.version !== VERSION || state === null || !whole) {
    throw new StorError('damaged', `a name record is not of version ${VERSION}`)
  }
  return {
    name: bytes.toString('utf8', NameRecordHeader.sizeBytes),
    state,
    objectId: Buffer.from(header.objectId),
    sizeBytes: header.sizeBytes,
    sha256: Buffer.from(header.sha256),
  }
}

const RecordKind = { object: 0x6f, name: 0x6e } as const

/** Where an object's record is kept: 'o' and its id. */
export function objectKey(objectId: Buffer): Buffer {
  return Buffer.concat([Buffer.of(RecordKind.object), objectId])
}

/** Where a name's record is kept: 'n' and the keyed hash of the name. */
export function nameKey(nameHash: Buffer): Buffer {
  return Buffer.concat([Buffer.of(RecordKind.name), nameHash])
}

/** The object id of an object's record key, null for other keys. */
export function objectIdOfKey(key: Buffer): Buffer | null {
  return key.length === 17 && key[0] === RecordKind.object ? key.subarray(1) : null
}
