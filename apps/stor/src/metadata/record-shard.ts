import { createHash, timingSafeEqual } from 'node:crypto'
import { layout } from '@qsfs/bytes/layout'
import { type MaybeShard, ReedSolomon } from '@qsfs/erasure/reed-solomon'
import { StorError } from '../errors.ts'
import type { Generation } from './object-record.ts'

const MAGIC = Buffer.from('QSRS')
const VERSION = 1
const MAC_BYTES = 16
/** A shard travels as one 0-db value. */
const SHARD_BYTES_MAX = 8 * 1024 * 1024 - 256

/** What stands before each shard of a sealed record. Page: docs/formats/metadata.md. */
export const RecordShardHeader = layout('record_shard', 104, {
  magic: [0, 'bytes', 4],
  version: [4, 'u8'],
  dataShards: [5, 'u8'],
  totalShards: [6, 'u8'],
  shardIndex: [7, 'u8'],
  memberSet: [8, 'u32'],
  recordBytes: [12, 'u32'],
  epoch: [16, 'u53'],
  counter: [24, 'u53'],
  attempt: [32, 'bytes', 16],
  recordSha256: [48, 'bytes', 32],
  shardBytes: [80, 'u32'],
  reserved: [84, 'u32'],
  mac: [88, 'bytes', 16],
})
const MAC_OFFSET_BYTES = 88

/** One member's part of one generation of a record. */
export interface RecordShard {
  readonly generation: Generation
  readonly memberSet: number
  readonly dataShards: number
  readonly totalShards: number
  readonly shardIndex: number
  /** Length and SHA-256 of the sealed record that the shards of this generation rebuild. */
  readonly recordBytes: number
  readonly recordSha256: Buffer
  readonly bytes: Buffer
}

/** Computes the keyed check of a shard from its parts; 16 bytes. A backend cannot forge one. */
export type ShardMac = (...parts: readonly Uint8Array[]) => Buffer

/** Under what a slot of a record is stored: the record's key and the slot. */
export function storageKey(key: Buffer, slot: number): Buffer {
  return Buffer.concat([key, Buffer.of(slot)])
}

/** Cuts a sealed record into one encoded shard per member. `storageKey` is what it will be stored under: a shard moved to
 *  another key, slot or index fails its check. */
export function splitRecord(
  sealed: Buffer,
  codec: ReedSolomon,
  { generation, memberSet }: { readonly generation: Generation; readonly memberSet: number },
  storageKey: Uint8Array,
  mac: ShardMac,
): Buffer[] {
  const { dataShards: k, totalShards: n } = codec
  const shardBytes = Math.max(1, Math.ceil(sealed.length / k))
  if (shardBytes > SHARD_BYTES_MAX) {
    throw new StorError('refused', `a record of ${sealed.length} bytes does not fit ${k} shards of ${SHARD_BYTES_MAX}`)
  }
  const padded = Buffer.alloc(shardBytes * n)
  sealed.copy(padded)
  const shards = Array.from({ length: n }, (_, i) => padded.subarray(i * shardBytes, (i + 1) * shardBytes))
  codec.encode(shards)
  const recordSha256 = sha256(sealed)
  return shards.map((shard, shardIndex) => {
    const header = RecordShardHeader.toBuffer({
      magic: MAGIC,
      version: VERSION,
      dataShards: k,
      totalShards: n,
      shardIndex,
      memberSet,
      recordBytes: sealed.length,
      epoch: generation.epoch,
      counter: generation.counter,
      attempt: generation.attempt,
      recordSha256,
      shardBytes,
      reserved: 0,
      mac: Buffer.alloc(MAC_BYTES),
    })
    mac(Buffer.of(storageKey.length), storageKey, header.subarray(0, MAC_OFFSET_BYTES), shard).copy(
      header,
      MAC_OFFSET_BYTES,
    )
    return Buffer.concat([header, shard])
  })
}

/** Null when the bytes are not a whole, authentic shard of `storageKey` for this member: damaged, cut, moved or forged. */
export function decodeShard(
  value: Buffer,
  storageKey: Uint8Array,
  shardIndex: number,
  mac: ShardMac,
): RecordShard | null {
  if (value.length < RecordShardHeader.sizeBytes) return null
  const bytes = Buffer.from(value.subarray(RecordShardHeader.sizeBytes))
  const expected = mac(Buffer.of(storageKey.length), storageKey, value.subarray(0, MAC_OFFSET_BYTES), bytes)
  if (!timingSafeEqual(value.subarray(MAC_OFFSET_BYTES, RecordShardHeader.sizeBytes), expected)) return null
  // Authentic from here on: we wrote it, so its numbers are ours. A version we do not know is still not for us to read.
  const header = RecordShardHeader.decode(value)
  if (!header.magic.equals(MAGIC) || header.version !== VERSION || header.shardIndex !== shardIndex) return null
  if (header.shardBytes !== bytes.length || header.dataShards * bytes.length < header.recordBytes) return null
  return {
    generation: { epoch: header.epoch, counter: header.counter, attempt: Buffer.from(header.attempt) },
    memberSet: header.memberSet,
    dataShards: header.dataShards,
    totalShards: header.totalShards,
    shardIndex,
    recordBytes: header.recordBytes,
    recordSha256: Buffer.from(header.recordSha256),
    bytes,
  }
}

/** The sealed record, from at least k shards of one generation.
 *  @throws RangeError when there are fewer, StorError 'damaged' when they do not rebuild what was written */
export function joinRecord(shards: readonly RecordShard[], codec: ReedSolomon): Buffer {
  const first = shards[0]
  if (first === undefined) throw new StorError('too-few-shards', 'no shard of the record is left')
  const { dataShards: k, recordBytes, recordSha256 } = first
  // The set of members may have grown or shrunk since: a wider code has the rows of a narrower one, and more.
  const n = Math.max(codec.totalShards, ...shards.map(({ totalShards }) => totalShards))
  const byIndex: MaybeShard[] = Array.from(
    { length: n },
    (_, i) => shards.find(shard => shard.shardIndex === i)?.bytes ?? null,
  )
  const fits = codec.dataShards === k && codec.totalShards === n
  ;(fits ? codec : new ReedSolomon(k, n - k)).reconstruct(byIndex, first.bytes.length, 'data')
  const data = byIndex.slice(0, k).filter(bytes => bytes !== null)
  const sealed = Buffer.concat(data).subarray(0, recordBytes)
  if (!sha256(sealed).equals(recordSha256)) throw new StorError('damaged', 'the shards of a record do not fit together')
  return sealed
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
