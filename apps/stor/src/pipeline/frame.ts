import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { releaseMemory } from '@qsfs/bytes/release'
import { cutSealed, openFrame, sealFrame, tagBytes } from '@qsfs/crypto/aead'
import { KeyError } from '@qsfs/crypto/errors'
import type { MaybeShard, ReedSolomon } from '@qsfs/erasure/reed-solomon'
import { StorError } from '../errors.ts'
import { FrameCoding, type FrameEntry } from '../metadata/object-record.ts'
import { type FramePlace, finishPiece, openPiece, pieceBytesOf, shardBytesOf, shardOfPiece } from './piece.ts'

/** What coding a frame needs to know of its object. Plain bytes, so that it can be sent to a worker. */
export interface FrameKeys {
  readonly objectId: Buffer
  /** 32 bytes each, derived from the object's key. */
  readonly framesKey: Uint8Array
  readonly piecesKey: Uint8Array
}

/** How much of a frame is compressed to see whether compressing pays. */
const probeBytes = 64 * 1024
/** Below 3 % saved, the time is worth more. */
const worthwhileRatio = 0.97
/** Level 1, never -1, which node takes for "unset" and then compresses at 3. Output comes in few chunks: 16 KiB each, as node has
 *  it, cost as much as the compressing (measured). */
const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: 128 * 1024 }

/** Room for the n pieces of any frame of this size. */
export function framePiecesBytes(frameBytes: number, { dataShards, totalShards }: ReedSolomon): number {
  return totalShards * pieceBytesOf(frameBytes + tagBytes, dataShards)
}

/** Compresses if that is wanted and shrinks it, seals, and cuts one frame into k data and m parity pieces.
 *  @param target where the n pieces are written, one after the other, each `pieceBytesOf(entry.sealedBytes, k)` long */
export function encodeFrame(
  codec: ReedSolomon,
  keys: FrameKeys,
  place: FramePlace,
  plain: Uint8Array,
  target: Buffer,
  { compress = true }: { readonly compress?: boolean } = {},
): FrameEntry {
  const { dataShards, totalShards } = codec
  const { coded, coding } = compress ? tryCompressing(plain) : { coded: plain, coding: FrameCoding.raw }
  const entry = { plainBytes: plain.length, sealedBytes: coded.length + tagBytes, coding }
  const pieces = cutPieces(target, totalShards, pieceBytesOf(entry.sealedBytes, dataShards))
  const shards = pieces.map(shardOfPiece)
  sealIntoShards(keys, place, coded, shards.slice(0, dataShards))
  if (coded !== plain) releaseMemory(coded)
  codec.encode(shards)
  pieces.forEach((piece, shardIndex) => {
    finishPiece(piece, keys.objectId, place, entry, shardIndex, keys.piecesKey)
  })
  return entry
}

/** The inverse, from shards whose pieces were checked: any k of them. Afterwards the shards are of no more use.
 *  @param take gets the plain bytes, in parts; they are not to be trusted before this returns
 *  @throws StorError 'damaged' when k authentic shards do not open, which is our own mistake or a wrong record */
export function decodeFrame(
  codec: ReedSolomon,
  keys: FrameKeys,
  place: FramePlace,
  entry: FrameEntry,
  shards: MaybeShard[],
  take: (plain: Buffer) => void,
): void {
  const lost = shards.map(shard => shard === null)
  codec.reconstruct(shards, shardBytesOf(entry.sealedBytes, codec.dataShards), 'data')
  const data = shards.slice(0, codec.dataShards) as Uint8Array[]
  let plainBytes = 0
  const takePlain = (part: Buffer) => {
    plainBytes += part.length
    take(part)
  }
  const compressed: Buffer[] = []
  const isCompressed = entry.coding === FrameCoding.zstd
  try {
    const sealed = cutSealed(data, entry.sealedBytes)
    const takeCoded = isCompressed ? (part: Buffer) => compressed.push(part) : takePlain
    openFrame(keys.framesKey, keys.objectId, place.frameNumber, sealed, takeCoded)
    if (isCompressed) {
      takePlain(zstdDecompressSync(Buffer.concat(compressed), { maxOutputLength: entry.plainBytes + 1 }))
    }
  } catch (cause) {
    if (!(cause instanceof KeyError) && !isZlibError(cause)) throw cause
    throw new StorError('damaged', `frame ${place.frameNumber} does not open although its pieces are authentic`, {
      cause,
    })
  }
  for (const [index, shard] of data.entries()) if (lost[index]) releaseMemory(shard)
  if (plainBytes !== entry.plainBytes) {
    throw new StorError('damaged', `frame ${place.frameNumber} is not ${entry.plainBytes} bytes long`)
  }
}

/** Reads back what `encodeFrame` wrote, from the last k pieces, so that every parity row takes part.
 *  @throws StorError 'damaged' when it is not the plain frame again: memory or processor cannot be trusted */
export function verifyFrame(
  codec: ReedSolomon,
  keys: FrameKeys,
  place: FramePlace,
  entry: FrameEntry,
  plain: Uint8Array,
  encoded: Buffer,
): void {
  const { dataShards, totalShards } = codec
  const pieces = cutPieces(encoded, totalShards, pieceBytesOf(entry.sealedBytes, dataShards))
  const shards = pieces.map((piece, index) =>
    index < totalShards - dataShards
      ? null
      : openPiece(piece, keys.objectId, place, entry, index, dataShards, keys.piecesKey),
  )
  const complete = shards.filter(shard => shard !== null).length === dataShards
  let same = complete
  let atBytes = 0
  const compare = (part: Buffer) => {
    same &&= part.equals(plain.subarray(atBytes, atBytes + part.length))
    atBytes += part.length
    releaseMemory(part)
  }
  if (complete) decodeFrame(codec, keys, place, entry, shards, compare)
  if (!same) {
    throw new StorError('damaged', `frame ${place.frameNumber} did not decode to what was encoded; nothing was stored`)
  }
}

export function cutPieces(target: Buffer, count: number, pieceBytes: number): Buffer[] {
  return Array.from({ length: count }, (_, index) => target.subarray(index * pieceBytes, (index + 1) * pieceBytes))
}

function tryCompressing(plain: Uint8Array): { coded: Uint8Array; coding: FrameCoding } {
  const raw = { coded: plain, coding: FrameCoding.raw }
  const probe = plain.subarray(0, probeBytes)
  const probed = zstdCompressSync(probe, zstdOptions)
  if (probed.length > probe.length * worthwhileRatio) return raw
  const coded = probe.length === plain.length ? probed : zstdCompressSync(plain, zstdOptions)
  return coded.length > plain.length * worthwhileRatio ? raw : { coded, coding: FrameCoding.zstd }
}

/** Fills the data shards with ciphertext ‖ tag ‖ zeros, a shard's worth at a time, which stays in the cache. */
function sealIntoShards(keys: FrameKeys, place: FramePlace, coded: Uint8Array, shards: readonly Buffer[]): void {
  const shardBytes = shards[0]!.length
  const partCount = Math.ceil(coded.length / shardBytes)
  const parts = shards.slice(0, partCount).map((_, i) => coded.subarray(i * shardBytes, (i + 1) * shardBytes))
  const rest = shards.values()
  const tag = sealFrame(keys.framesKey, keys.objectId, place.frameNumber, parts, ciphertext => {
    ciphertext.copy(rest.next().value!)
    releaseMemory(ciphertext)
  })
  for (const [index, shard] of shards.entries()) {
    const tagAt = coded.length - index * shardBytes
    if (tagAt >= shardBytes) continue
    shard.fill(0, Math.max(0, tagAt))
    // It may begin in one shard and end in the next.
    if (tagAt > -tagBytes) tag.copy(shard, Math.max(0, tagAt), Math.max(0, -tagAt))
  }
}

function isZlibError(error: unknown): boolean {
  const code = (error as { code?: string }).code ?? ''
  return code.startsWith('ZSTD_') || code === 'ERR_BUFFER_TOO_LARGE'
}
