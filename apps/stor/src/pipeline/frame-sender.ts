import { tagBytes } from '@qsfs/crypto/aead'
import { type FrameEntry, frameCountOf, plainBytesOf } from '../metadata/object-record.ts'
import type { SourceFile } from '../segment-file.ts'
import { type DigestPool, digestOf, type StreamDigest } from './digest.ts'
import { cutPieces, type FrameKeys } from './frame.ts'
import type { Digests, EncodeJob } from './frame-jobs.ts'
import type { FramePool, Slot } from './frame-pool.ts'
import { type FramePlace, pieceBytesOf } from './piece.ts'
import type { ShardWriter } from './shard-writer.ts'

/** What of a pool codes and digests frames that are sent. */
export type CodingPool = DigestPool & Pick<FramePool, 'encodeSlots'>

export interface FrameSenderOptions {
  readonly keys: FrameKeys
  readonly dataShards: number
  readonly frameBytes: number
  readonly compress: boolean
  readonly verifyFrames: boolean
  /** What stands before the first piece of a shard. */
  shardHeader(shardIndex: number): Buffer
  /** Asked before each frame and after each answer; throws when there is no point in going on. */
  assertUseful(): void
  onSent(plainBytes: number): void
  readonly signal: AbortSignal | undefined
}

type FrameBytes = Pick<EncodeJob, 'positionBytes' | 'plainBytes' | 'plainAtBytes'>

/** Codes the frames of an object in any order and hands their pieces to the shard writers in theirs. The pool's slots
 *  bound how many are on their way. */
export class FrameSender {
  readonly #pool: CodingPool
  readonly #writers: readonly ShardWriter[]
  readonly #options: FrameSenderOptions
  /** Of everything sent so far, in order. */
  readonly frames: FrameEntry[] = []
  #failure: { readonly error: unknown } | null = null

  constructor(pool: CodingPool, writers: readonly ShardWriter[], options: FrameSenderOptions) {
    this.#pool = pool
    this.#writers = writers
    this.#options = options
  }

  /** Sends one file whole; its frames follow those sent before. After a failure nothing more can be sent.
   *  @returns the digests of the very bytes that were sent */
  async send(source: SourceFile, { attachment }: { readonly attachment: boolean }): Promise<Digests> {
    return await digestOf(this.#pool, { blake2b: false }, digest => this.#sendFrames(source, attachment, digest))
  }

  async #sendFrames(source: SourceFile, attachment: boolean, digest: StreamDigest): Promise<void> {
    const { frameBytes, signal } = this.#options
    const count = frameCountOf(source.sizeBytes, frameBytes)
    const firstFrame = this.frames.length
    const sending = new Set<Promise<void>>()
    let turn = Promise.resolve()
    try {
      for (let index = 0; index < count && this.#failure === null; index++) {
        this.#options.assertUseful()
        const plainBytes = plainBytesOf(index, source.sizeBytes, frameBytes)
        const plainAtBytes = this.#piecesBytes(plainBytes)
        const slot = await this.#pool.encodeSlots.take(plainAtBytes + plainBytes, { signal })
        const place = { frameNumber: firstFrame + index, attachment, last: index === count - 1 }
        const job = this.#job(source, place, { positionBytes: index * frameBytes, plainBytes, plainAtBytes }, slot)
        const next = Promise.withResolvers<void>()
        const sent = this.#sendFrame(job, slot, digest, turn, next.resolve).finally(() => {
          slot[Symbol.dispose]()
          sending.delete(sent)
        })
        sending.add(sent)
        turn = next.promise
      }
    } finally {
      // Their slots are lent to a coder or to the backends' connections until these settle.
      await Promise.all(sending)
    }
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Never rejects: the first failure is kept, and no later frame is handed over after it. */
  async #sendFrame(
    job: EncodeJob,
    slot: Slot,
    digest: StreamDigest,
    turn: Promise<void>,
    passTurn: () => void,
  ): Promise<void> {
    const { signal, assertUseful, onSent } = this.#options
    try {
      let answers: Promise<void>[]
      try {
        const entry = await this.#pool.run(job)
        await turn
        if (this.#failure !== null) return
        signal?.throwIfAborted()
        this.frames.push(entry)
        answers = this.#handOver(job.place.frameNumber, entry, slot)
        answers.push(digest.update(slot, job.plainAtBytes, job.plainBytes))
      } finally {
        passTurn()
      }
      const settled = await Promise.allSettled(answers)
      for (const answer of settled) if (answer.status === 'rejected') throw answer.reason
      assertUseful()
      onSent(job.plainBytes)
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  #handOver(frameNumber: number, entry: FrameEntry, slot: Slot): Promise<void>[] {
    const { dataShards, shardHeader, signal } = this.#options
    const pieces = cutPieces(slot.bytes, this.#writers.length, pieceBytesOf(entry.sealedBytes, dataShards))
    return this.#writers.map(writer => {
      const piece = pieces[writer.index]!
      const value = frameNumber === 0 ? Buffer.concat([shardHeader(writer.index), piece]) : piece
      return writer.put(value, { signal })
    })
  }

  #job({ fd }: SourceFile, place: FramePlace, bytes: FrameBytes, { memory }: Slot): EncodeJob {
    const { keys, dataShards, compress, verifyFrames } = this.#options
    return {
      ...{ kind: 'encode', fd, ...bytes, slot: memory, compress, verify: verifyFrames },
      ...{ keys, dataShards, totalShards: this.#writers.length, place },
    }
  }

  /** Room for the pieces; the plain frame lies behind them. */
  #piecesBytes(plainBytes: number): number {
    return this.#writers.length * pieceBytesOf(plainBytes + tagBytes, this.#options.dataShards)
  }
}
