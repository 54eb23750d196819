import assert from 'node:assert'
import { layout } from '@qsfs/bytes/layout'
import { tagBytes } from '@qsfs/crypto/aead'
import { wrappedKeyBytes } from '@qsfs/crypto/keys'
import type { PieceId } from '../backend/backend.ts'
import { ByteReader } from './byte-reader.ts'

/** Which version of an object's record this is. Compared by epoch, then counter, then attempt. */
export interface Generation {
  /** Number of the owner's epoch (recovery points); 1 until another machine has claimed the store. */
  readonly epoch: number
  /** One above every counter seen when the attempt began. */
  readonly counter: number
  /** 16 random bytes per attempt: two attempts that computed the same counter are still told apart. */
  readonly attempt: Buffer
}

/** How the bytes of a frame were coded before sealing. */
export const FrameCoding = { raw: 0, zstd: 1 } as const
export type FrameCoding = (typeof FrameCoding)[keyof typeof FrameCoding]

/** One frame: `plainBytes` of the file became `sealedBytes` of ciphertext and tag, cut into k pieces of equal length. */
export interface FrameEntry {
  readonly plainBytes: number
  readonly sealedBytes: number
  readonly coding: FrameCoding
}

/** `count` values with the ids start, start + 1, …: one piece of one shard each, in frame order. */
export interface PieceRun {
  readonly start: PieceId
  readonly count: number
}

/** Where one shard of the object lies. */
export interface ShardPlace {
  readonly index: number
  /** `Backend.name`. */
  readonly backend: string
  readonly runs: readonly PieceRun[]
  /** SHA-256 over the 16-byte MACs of the shard's pieces, in frame order. */
  readonly root: Buffer
  /** False while the shard is owed: its backend was away when the object was stored. */
  readonly confirmed: boolean
}

/** Pieces that are to be removed from a backend that was away when they died. */
export interface OwedRemoval {
  readonly backend: string
  readonly runs: readonly PieceRun[]
}

/** A small file that travels with the object (a segment's hint file). Its frames follow the file's frames. */
export interface Attachment {
  readonly sizeBytes: number
  readonly sha256: Buffer
  readonly frames: readonly FrameEntry[]
}

/** All that is needed to find and open an object. Encrypted and dispersed by the meta store, written last. */
export interface ObjectRecord {
  readonly generation: Generation
  readonly state: 'live' | 'deleted'
  /** Number of the member set of metadata backends that was in force. */
  readonly memberSet: number
  /** 16 random bytes, one per upload attempt; the object's name everywhere. */
  readonly objectId: Buffer
  /** 16 random bytes of the upload that wrote the shards, as in their headers. */
  readonly uploadId: Buffer
  /** Milliseconds since 1970 at which that upload began. */
  readonly createdMs: number
  /** The path with the virtual root stripped, as zstor does. */
  readonly name: string
  readonly sizeBytes: number
  /** SHA-256 of the plain file. */
  readonly sha256: Buffer
  /** zstor's checksum of the plain file: BLAKE2b, 16 bytes long; null until somebody asked for it. */
  readonly blake2b: Buffer | null
  readonly dataShards: number
  readonly totalShards: number
  /** Plain bytes of every frame but the last. */
  readonly frameBytes: number
  readonly frames: readonly FrameEntry[]
  readonly attachment: Attachment | null
  /** The object's key, wrapped (docs/formats/keys.md). */
  readonly wrappedKey: Buffer
  /** One per shard index, ascending. */
  readonly shards: readonly ShardPlace[]
  readonly owed: readonly OwedRemoval[]
}

const magic = Buffer.from('QSOR')
const version = 1

/** docs/formats/record.md. After it: the name, the frames, the attachment's frames, the shards, the removals owed. */
export const RecordHeader = layout('object_record', 440, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  epoch: [8, 'u53'],
  counter: [16, 'u53'],
  attempt: [24, 'bytes', 16],
  state: [40, 'u32'],
  memberSet: [44, 'u32'],
  objectId: [48, 'bytes', 16],
  uploadId: [64, 'bytes', 16],
  createdMs: [80, 'u53'],
  sizeBytes: [88, 'u53'],
  sha256: [96, 'bytes', 32],
  blake2b: [128, 'bytes', 16],
  dataShards: [144, 'u16'],
  totalShards: [146, 'u16'],
  frameBytes: [148, 'u32'],
  nameBytes: [152, 'u32'],
  frameCount: [156, 'u32'],
  attachmentFrameCount: [160, 'u32'],
  owedCount: [164, 'u32'],
  attachmentSizeBytes: [168, 'u53'],
  attachmentSha256: [176, 'bytes', 32],
  wrappedKey: [208, 'bytes', wrappedKeyBytes],
  // Room for what later versions add without moving anything; zeros.
  reserved: [324, 'bytes', 116],
})
const FrameRow = layout('frame', 4, { sealedAndCoding: [0, 'u32'] })
const ShardRow = layout('shard_place', 44, {
  index: [0, 'u16'],
  confirmed: [2, 'u16'],
  backendBytes: [4, 'u32'],
  runCount: [8, 'u32'],
  root: [12, 'bytes', 32],
})
const OwedRow = layout('owed_removal', 8, { backendBytes: [0, 'u32'], runCount: [4, 'u32'] })
const RunRow = layout('piece_run', 12, { start: [0, 'u53'], count: [8, 'u32'] })

const State = { live: 1, deleted: 2 } as const
/** Stands for a checksum that was not taken yet. */
const notAsked = Buffer.alloc(16)
/** No frame is larger: one frame of an object is held in memory whole, several times over. */
export const frameBytesMax = 16 * 1024 * 1024

/** The highest bit of a frame's row says zstd; the rest is its sealed length. */
const zstdBit = 0x8000_0000

/** The plain bytes of a record; the metadata store seals them. */
export function encodeRecord(record: ObjectRecord): Buffer {
  const { attachment, generation } = record
  const name = Buffer.from(record.name)
  const header = RecordHeader.toBuffer({
    ...record,
    ...generation,
    magic,
    version,
    state: State[record.state],
    blake2b: record.blake2b ?? notAsked,
    nameBytes: name.length,
    frameCount: record.frames.length,
    attachmentFrameCount: attachment?.frames.length ?? 0,
    owedCount: record.owed.length,
    attachmentSizeBytes: attachment?.sizeBytes ?? 0,
    attachmentSha256: attachment?.sha256 ?? Buffer.alloc(32),
    reserved: Buffer.alloc(116),
  })
  assertPlainLengths(record.frames, record.sizeBytes, record.frameBytes)
  if (attachment !== null) assertPlainLengths(attachment.frames, attachment.sizeBytes, record.frameBytes)
  return Buffer.concat([
    header,
    name,
    encodeFrames(record.frames),
    encodeFrames(attachment?.frames ?? []),
    ...record.shards.flatMap(encodeShard),
    ...record.owed.flatMap(({ backend, runs }) => {
      const name = Buffer.from(backend)
      return [OwedRow.toBuffer({ backendBytes: name.length, runCount: runs.length }), name, encodeRuns(runs)]
    }),
  ])
}

/** @throws StorError 'damaged' */
export function decodeRecord(bytes: Buffer): ObjectRecord {
  const reader = new ByteReader(bytes, 'an object record')
  const header = reader.read(RecordHeader)
  if (!header.magic.equals(magic)) throw reader.damaged('begins with something else')
  if (header.version !== version) throw reader.damaged(`has version ${header.version}, this program reads ${version}`)
  const state = header.state === State.live ? 'live' : header.state === State.deleted ? 'deleted' : null
  if (state === null) throw reader.damaged(`has state ${header.state}`)
  const { sizeBytes, frameBytes, dataShards, totalShards, attachmentSizeBytes, attachmentSha256 } = header
  if (dataShards < 1 || dataShards > totalShards || totalShards > 256 || frameBytes < 1 || frameBytes > frameBytesMax) {
    throw reader.damaged(`says ${dataShards} of ${totalShards} shards, frames of ${frameBytes} bytes`)
  }
  const name = reader.bytes(header.nameBytes).toString()
  const readFrames = (count: number, fileBytes: number): FrameEntry[] => {
    if (count !== frameCountOf(fileBytes, frameBytes))
      throw reader.damaged(`has ${count} frames for ${fileBytes} bytes`)
    reader.count(count, FrameRow.sizeBytes)
    return Array.from({ length: count }, (_, index) => {
      const { sealedAndCoding } = reader.read(FrameRow)
      const plainBytes = plainBytesOf(index, fileBytes, frameBytes)
      const sealedBytes = sealedAndCoding % zstdBit
      // Coding never makes a frame longer, so nothing longer is ever allocated for one.
      if (sealedBytes > plainBytes + tagBytes) throw reader.damaged(`seals ${plainBytes} bytes in ${sealedBytes}`)
      return { plainBytes, sealedBytes, coding: sealedAndCoding >= zstdBit ? FrameCoding.zstd : FrameCoding.raw }
    })
  }
  const frames = readFrames(header.frameCount, sizeBytes)
  const attachment =
    header.attachmentFrameCount === 0
      ? null
      : {
          sizeBytes: attachmentSizeBytes,
          sha256: attachmentSha256,
          frames: readFrames(header.attachmentFrameCount, attachmentSizeBytes),
        }
  const readRuns = (count: number): PieceRun[] =>
    Array.from({ length: reader.count(count, RunRow.sizeBytes) }, () => reader.read(RunRow))
  const shards = Array.from({ length: totalShards }, (_, index) => {
    const row = reader.read(ShardRow)
    if (row.index !== index) throw reader.damaged(`lists shard ${row.index} where ${index} belongs`)
    const backend = reader.bytes(row.backendBytes).toString()
    return { index, backend, confirmed: row.confirmed === 1, root: row.root, runs: readRuns(row.runCount) }
  })
  const owed = Array.from({ length: reader.count(header.owedCount, OwedRow.sizeBytes) }, () => {
    const row = reader.read(OwedRow)
    return { backend: reader.bytes(row.backendBytes).toString(), runs: readRuns(row.runCount) }
  })
  reader.end()
  const { epoch, counter, attempt, memberSet, objectId, uploadId, createdMs, sha256, wrappedKey } = header
  const blake2b = header.blake2b.equals(notAsked) ? null : header.blake2b
  return {
    generation: { epoch, counter, attempt },
    ...{ state, memberSet, objectId, uploadId, createdMs, name, sizeBytes, sha256, blake2b },
    ...{ dataShards, totalShards, frameBytes, frames, attachment, wrappedKey, shards, owed },
  }
}

/** An empty file has one empty frame, so that its shards exist and can be checked like any other's. */
export function frameCountOf(sizeBytes: number, frameBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / frameBytes))
}

export function plainBytesOf(frameIndex: number, sizeBytes: number, frameBytes: number): number {
  return Math.min(frameBytes, sizeBytes - frameIndex * frameBytes)
}

function assertPlainLengths(frames: readonly FrameEntry[], sizeBytes: number, frameBytes: number): void {
  assert(frames.length === frameCountOf(sizeBytes, frameBytes), 'the frames cover the file')
  assert(
    frames.every((frame, index) => frame.plainBytes === plainBytesOf(index, sizeBytes, frameBytes)),
    'every frame but the last is full',
  )
}

function encodeFrames(frames: readonly FrameEntry[]): Buffer {
  const rows = Buffer.alloc(frames.length * FrameRow.sizeBytes)
  frames.forEach(({ sealedBytes, coding }, index) => {
    const sealedAndCoding = sealedBytes + (coding === FrameCoding.zstd ? zstdBit : 0)
    FrameRow.encode({ sealedAndCoding }, rows, index * FrameRow.sizeBytes)
  })
  return rows
}

function encodeShard({ index, backend, runs, root, confirmed }: ShardPlace): Buffer[] {
  const name = Buffer.from(backend)
  const row = { index, confirmed: confirmed ? 1 : 0, backendBytes: name.length, runCount: runs.length, root }
  return [ShardRow.toBuffer(row), name, encodeRuns(runs)]
}

function encodeRuns(runs: readonly PieceRun[]): Buffer {
  return Buffer.concat(runs.map(run => RunRow.toBuffer(run)))
}
