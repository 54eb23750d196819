import type { StorErrorReason } from '../errors.ts'
import type { FrameEntry } from '../metadata/object-record.ts'
import type { FrameKeys } from './frame.ts'
import type { FramePlace } from './piece.ts'

/** What the frame workers and the digest worker are asked, and what they answer: structured clones, with the bytes in
 *  shared memory. Files are named by descriptors, which all threads of a process share. */
interface FrameOf {
  readonly keys: FrameKeys
  readonly dataShards: number
  readonly totalShards: number
  readonly place: FramePlace
}

/** File → n pieces at the start of `slot`. */
export interface EncodeJob extends FrameOf {
  readonly kind: 'encode'
  readonly fd: number
  readonly positionBytes: number
  readonly plainBytes: number
  readonly slot: SharedArrayBuffer
  /** Decode again before answering. */
  readonly verify: boolean
}
export interface Encoded {
  readonly entry: FrameEntry
  /** CRC-32 of the plain frame, to be compared with what the digests were made of. */
  readonly plainCrc: number
}

/** k checked shards, each shardBytes long, one after the other in `slot` → plain bytes, into the file, or back into the
 *  slot's start where there is none. */
export interface DecodeJob extends FrameOf {
  readonly kind: 'decode'
  readonly entry: FrameEntry
  /** Index of the shard at each place of the slot. */
  readonly shardIndexes: readonly number[]
  readonly slot: SharedArrayBuffer
  readonly target: { readonly fd: number; readonly positionBytes: number } | null
}

/** The whole file, in order. */
export interface DigestJob {
  readonly kind: 'digest'
  readonly fd: number
  readonly sizeBytes: number
  readonly frameBytes: number
  /** zstor's checksum too; it costs three times as much as the rest. */
  readonly blake2b: boolean
}
export interface Digests {
  readonly sha256: Uint8Array
  readonly blake2b: Uint8Array | null
  /** CRC-32 of every frame. */
  readonly frameCrcs: Uint32Array
}

export type Job = EncodeJob | DecodeJob | DigestJob
export type JobResult<J extends Job> = J extends EncodeJob ? Encoded : J extends DecodeJob ? null : Digests

export interface JobMessage {
  readonly number: number
  readonly job: Job
}
export interface AnswerMessage {
  readonly number: number
  readonly result?: Encoded | Digests | null
  /** reason is null for what only a bug can break. */
  readonly error?: { readonly reason: StorErrorReason | null; readonly message: string }
}
