import type { PieceId } from '../backend/backend.ts'

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
  /** zstor's checksum of the plain file: BLAKE2b, 16 bytes long. */
  readonly blake2b: Buffer
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
