import assert from 'node:assert'
import { createHmac, timingSafeEqual } from 'node:crypto'
import { layout } from '@qsfs/bytes/layout'
import { macBytes, pieceMac } from '@qsfs/crypto/aead'
import { wrappedKeyBytes } from '@qsfs/crypto/keys'
import type { Secret } from '@qsfs/crypto/secret'
import { ByteReader } from '../metadata/byte-reader.ts'
import { FrameCoding, type FrameEntry } from '../metadata/object-record.ts'

const pieceMagic = Buffer.from('QSP1')
const shardMagic = Buffer.from('QSSH')
const shardVersion = 1

/** docs/formats/shard.md: before the bytes of every piece, one per (frame, shard). After them stands the MAC. */
export const PieceHeader = layout('piece', 40, {
  magic: [0, 'bytes', 4],
  frameNumber: [4, 'u32'],
  objectId: [8, 'bytes', 16],
  plainBytes: [24, 'u32'],
  sealedBytes: [28, 'u32'],
  shardIndex: [32, 'u16'],
  flags: [34, 'u16'],
  reserved: [36, 'u32'],
})
/** Bits of `flags`. */
export const PieceFlag = { zstd: 1, attachment: 2, last: 4 } as const

/** Before the first piece of every shard: enough to rebuild the object's record from its shards alone. After it stand the
 *  sealed name and 16 bytes of HMAC. */
export const ShardHeader = layout('shard', 192, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  objectId: [8, 'bytes', 16],
  uploadId: [24, 'bytes', 16],
  startedMs: [40, 'u53'],
  epoch: [48, 'u53'],
  dataShards: [56, 'u16'],
  totalShards: [58, 'u16'],
  shardIndex: [60, 'u16'],
  reserved: [62, 'u16'],
  frameBytes: [64, 'u32'],
  sealedNameBytes: [68, 'u32'],
  wrappedKey: [72, 'bytes', wrappedKeyBytes],
  reserved2: [188, 'u32'],
})

/** How both headers begin. */
const OwnerPrefix = layout('owner', 24, {
  magic: [0, 'bytes', 4],
  versionOrFrame: [4, 'u32'],
  objectId: [8, 'bytes', 16],
})

/** What a frame is, apart from its bytes. */
export interface FramePlace {
  readonly frameNumber: number
  /** It belongs to the attachment, whose frames follow the file's. */
  readonly attachment: boolean
  /** The last frame of its file. */
  readonly last: boolean
}

/** Bytes of one shard of a frame: whole 16-byte words, so that every shard is long enough and the tail is zeros. */
export function shardBytesOf(sealedBytes: number, dataShards: number): number {
  return Math.ceil(sealedBytes / dataShards / 16) * 16
}

/** Length of the value that holds one piece (the first of a shard has its shard header before it). */
export function pieceBytesOf(sealedBytes: number, dataShards: number): number {
  return PieceHeader.sizeBytes + shardBytesOf(sealedBytes, dataShards) + macBytes
}

/** Where the shard's bytes are inside a piece. */
export function shardOfPiece(piece: Buffer): Buffer {
  return piece.subarray(PieceHeader.sizeBytes, piece.length - macBytes)
}

/** Writes header and MAC around the shard's bytes, which are in place already. */
export function finishPiece(
  piece: Buffer,
  objectId: Buffer,
  place: FramePlace,
  entry: FrameEntry,
  shardIndex: number,
  piecesKey: Uint8Array,
): void {
  writeHeader(piece, objectId, place, entry, shardIndex)
  const macAt = piece.length - macBytes
  pieceMac(piecesKey, place.frameNumber, shardIndex, piece.subarray(0, macAt)).copy(piece, macAt)
}

/** Checks that `piece` is exactly this piece of this object and answers the shard's bytes; null when it is anything else:
 *  flipped, cut, older, another frame's, another shard's or another object's. */
export function openPiece(
  piece: Buffer,
  objectId: Buffer,
  place: FramePlace,
  entry: FrameEntry,
  shardIndex: number,
  dataShards: number,
  piecesKey: Uint8Array,
): Buffer | null {
  if (piece.length !== pieceBytesOf(entry.sealedBytes, dataShards)) return null
  const macAt = piece.length - macBytes
  const mac = pieceMac(piecesKey, place.frameNumber, shardIndex, piece.subarray(0, macAt))
  if (!timingSafeEqual(mac, piece.subarray(macAt))) return null
  const expected = Buffer.alloc(PieceHeader.sizeBytes)
  writeHeader(expected, objectId, place, entry, shardIndex)
  return expected.equals(piece.subarray(0, PieceHeader.sizeBytes)) ? shardOfPiece(piece) : null
}

/** Whether what `openPiece` refused says itself to be another piece: a swap, not damage. The backend's word. */
export function isOtherPiece(piece: Buffer, objectId: Buffer, frameNumber: number, shardIndex: number): boolean {
  if (piece.length < PieceHeader.sizeBytes) return false
  const header = PieceHeader.decode(piece)
  if (!header.magic.equals(pieceMagic)) return false
  return !header.objectId.equals(objectId) || header.frameNumber !== frameNumber || header.shardIndex !== shardIndex
}

function writeHeader(
  target: Buffer,
  objectId: Buffer,
  { frameNumber, attachment, last }: FramePlace,
  { plainBytes, sealedBytes, coding }: FrameEntry,
  shardIndex: number,
): void {
  const flags =
    (coding === FrameCoding.zstd ? PieceFlag.zstd : 0) |
    (attachment ? PieceFlag.attachment : 0) |
    (last ? PieceFlag.last : 0)
  const values = { magic: pieceMagic, frameNumber, objectId, plainBytes, sealedBytes, shardIndex, flags, reserved: 0 }
  PieceHeader.encode(values, target)
}

export interface ShardIdentity {
  readonly objectId: Buffer
  /** 16 random bytes of whoever wrote this shard: the first upload, or a repair. */
  readonly uploadId: Buffer
  /** When that writing began, ms since 1970: orphans younger than a day are never swept. */
  readonly startedMs: number
  readonly epoch: number
  readonly dataShards: number
  readonly totalShards: number
  readonly shardIndex: number
  readonly frameBytes: number
  readonly wrappedKey: Buffer
  /** A sealed box with the object's name. */
  readonly sealedName: Buffer
}

/** Has its own MAC, an HMAC: a repair writes other ids and times here, where a GMAC's nonce would be used twice. */
export function encodeShardHeader(shard: ShardIdentity, headersKey: Secret): Buffer {
  const { sealedName } = shard
  const fields = { magic: shardMagic, version: shardVersion, reserved: 0, reserved2: 0 }
  const header = ShardHeader.toBuffer({ ...shard, ...fields, sealedNameBytes: sealedName.length })
  const bytes = Buffer.concat([header, sealedName])
  return Buffer.concat([bytes, headerMac(bytes, headersKey)])
}

/** The header of a shard's first value, and where its piece begins. Not authenticated yet: the key is wrapped in it.
 *  @throws StorError 'damaged' */
export function decodeShardHeader(value: Buffer): { shard: ShardIdentity; headerBytes: number } {
  const reader = new ByteReader(value, 'a shard header')
  const header = reader.read(ShardHeader)
  if (!header.magic.equals(shardMagic)) throw reader.damaged('begins with something else')
  if (header.version !== shardVersion) {
    throw reader.damaged(`has version ${header.version}, this program reads ${shardVersion}`)
  }
  const sealedName = reader.bytes(header.sealedNameBytes)
  reader.bytes(macBytes)
  return { shard: { ...header, sealedName }, headerBytes: value.length - reader.leftBytes }
}

/** The object that a stored value says it belongs to, null when it is none of ours. Not authenticated: the backend's word. */
export function objectIdOfValue(value: Buffer): Buffer | null {
  if (value.length < OwnerPrefix.sizeBytes) return null
  const { magic, objectId } = OwnerPrefix.decode(value)
  return magic.equals(shardMagic) || magic.equals(pieceMagic) ? objectId : null
}

/** Whether the header at the start of `value` was written under this object's key. */
export function shardHeaderHolds(value: Buffer, headerBytes: number, headersKey: Secret): boolean {
  assert(headerBytes >= ShardHeader.sizeBytes + macBytes && headerBytes <= value.length)
  const macAt = headerBytes - macBytes
  return timingSafeEqual(headerMac(value.subarray(0, macAt), headersKey), value.subarray(macAt, headerBytes))
}

function headerMac(bytes: Buffer, headersKey: Secret): Buffer {
  return createHmac('sha256', headersKey.expose()).update(bytes).digest().subarray(0, macBytes)
}
