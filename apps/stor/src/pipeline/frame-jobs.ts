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

/** File → plain frame at `plainAtBytes` of the slot, n pieces at its start. */
export interface EncodeJob extends FrameOf {
  readonly kind: 'encode'
  readonly fd: number
  readonly positionBytes: number
  readonly plainBytes: number
  readonly plainAtBytes: number
  readonly slot: SharedArrayBuffer
  /** Try to, and keep it if it shrinks. */
  readonly compress: boolean
  /** Decode again before answering. */
  readonly verify: boolean
}

/** k checked shards, each shardBytes long, one after the other in `slot` → plain bytes, at the slot's start and in the file, if
 *  there is one. */
export interface DecodeJob extends FrameOf {
  readonly kind: 'decode'
  readonly entry: FrameEntry
  /** Index of the shard at each place of the slot. */
  readonly shardIndexes: readonly number[]
  readonly slot: SharedArrayBuffer
  readonly target: { readonly fd: number; readonly positionBytes: number } | null
}

/** A whole file. */
export interface DigestFileJob {
  readonly kind: 'digest-file'
  readonly fd: number
  readonly sizeBytes: number
}
/** The next bytes of a stream, from a slot. A stream begins with part 0; one that misses a part (the worker had died
 *  meanwhile) is an error, never a digest of the rest. */
export interface DigestPartJob {
  readonly kind: 'digest-part'
  readonly stream: number
  readonly partNumber: number
  /** zstor's checksum too; it costs twice as much as the rest. */
  readonly blake2b: boolean
  readonly slot: SharedArrayBuffer
  readonly atBytes: number
  readonly lengthBytes: number
}
/** Ends a stream, also one that is given up; the digests of what it had. */
export interface DigestEndJob {
  readonly kind: 'digest-end'
  readonly stream: number
  readonly partCount: number
}
export interface Digests {
  readonly sha256: Uint8Array
  readonly blake2b: Uint8Array | null
}

export type Job = EncodeJob | DecodeJob | DigestFileJob | DigestPartJob | DigestEndJob
export type JobResult<J extends Job> = J extends EncodeJob
  ? FrameEntry
  : J extends DigestFileJob | DigestEndJob
    ? Digests
    : null
export type AnyResult = FrameEntry | Digests | null

export interface JobMessage {
  readonly number: number
  readonly job: Job
}
export interface AnswerMessage {
  readonly number: number
  readonly result?: AnyResult
  /** reason is null for what only a bug can break. */
  readonly error?: { readonly reason: StorErrorReason | null; readonly message: string }
}
