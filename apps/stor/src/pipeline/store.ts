import assert from 'node:assert'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import { tagBytes } from '@qsfs/crypto/aead'
import type { KeyRing, ObjectKeys } from '@qsfs/crypto/keys'
import type { Log } from '@qsfs/telemetry/log'
import type { Backend } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import {
  type FrameEntry,
  frameBytesMax,
  frameCountOf,
  type ObjectRecord,
  plainBytesOf,
} from '../metadata/object-record.ts'
import { openSource, type SourceFile } from '../segment-file.ts'
import { cutPieces, type FrameKeys } from './frame.ts'
import type { Digests } from './frame-jobs.ts'
import type { FramePool } from './frame-pool.ts'
import { encodeShardHeader, type FramePlace, openPiece, pieceBytesOf } from './piece.ts'
import { ShardWriter } from './shard-writer.ts'

export interface StoreContext {
  readonly pool: FramePool
  readonly keys: KeyRing
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  /** The monitor's word: a backend that is down is not waited for. */
  isDown(backendName: string): boolean
}

export interface StoreRequest {
  readonly path: string
  /** Name of the object: the path with the virtual root stripped. */
  readonly name: string
  /** A small file that becomes part of the object. */
  readonly attachmentPath?: string
  /** Shard i goes to backends[i]; their number is n. */
  readonly backends: readonly Backend[]
  readonly dataShards: number
  readonly frameBytes: number
  readonly epoch: number
  /** Decode every frame again before it is sent. */
  readonly verifyFrames: boolean
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void
}

/** The record of what was stored; generation and member set are the metadata store's to fill in. */
export type NewRecord = Omit<ObjectRecord, 'generation' | 'memberSet'>

/** Half of what orphans are spared for (24 h), so that no upload outlives its own shards. */
const uploadWithinMs = 12 * 60 * 60 * 1000

/** Backends that must hold their shard on disk for an object to count as stored when some are down. */
export function writeQuorum(dataShards: number, totalShards: number): number {
  return Math.min(totalShards, Math.max(dataShards + 1, Math.floor(totalShards / 2) + 1))
}

/** File → frames → shards → backends → synced → read back by sample → record, in that order; the record is the commit
 *  point. Every attempt has an object id and a key of its own. A failed or aborted attempt removes what it can reach of
 *  its shards; the rest are orphans, harmless, which scrub removes.
 *  @param commit writes the record; from its start on the shards are kept whatever happens
 *  @throws StorError 'too-few-shards' (retryable), 'file', 'damaged'; the signal's reason when aborted before the commit */
export async function storeObject(
  request: StoreRequest,
  context: StoreContext,
  commit: (record: NewRecord) => Promise<void>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<NewRecord> {
  assert(request.frameBytes > 0 && request.frameBytes <= frameBytesMax, 'frame size within what records allow')
  await using upload = await Upload.begin(request, context, signal)
  const record = await upload.run()
  upload.keepShards()
  await commit(record)
  return record
}

interface Sources {
  readonly file: SourceFile
  readonly attachment: SourceFile | null
}

class Upload implements AsyncDisposable {
  readonly #request: StoreRequest
  readonly #context: StoreContext
  readonly #signal: AbortSignal | undefined
  readonly #sources: Sources
  readonly #resources: AsyncDisposableStack
  readonly #objectId: Buffer
  readonly #uploadId: Buffer
  readonly #startedMs: number
  readonly #wrappedKey: Buffer
  readonly #objectKeys: ObjectKeys
  readonly #frameKeys: FrameKeys
  readonly #writers: readonly ShardWriter[]
  readonly #frames: FrameEntry[] = []
  #shardsKept = false
  #doneBytes = 0

  static async begin(request: StoreRequest, context: StoreContext, signal: AbortSignal | undefined): Promise<Upload> {
    await using opening = new AsyncDisposableStack()
    const file = opening.use(await openSource(request.path))
    const { attachmentPath } = request
    const attachment = attachmentPath === undefined ? null : opening.use(await openSource(attachmentPath))
    return new Upload(request, context, signal, { file, attachment }, opening.move())
  }

  private constructor(
    request: StoreRequest,
    context: StoreContext,
    signal: AbortSignal | undefined,
    sources: Sources,
    resources: AsyncDisposableStack,
  ) {
    this.#request = request
    this.#context = context
    this.#signal = signal
    this.#sources = sources
    this.#resources = resources
    this.#objectId = context.random(16)
    this.#uploadId = context.random(16)
    this.#startedMs = Math.floor(context.clock.nowMs())
    const { keys, wrappedKey } = context.keys.newObjectKeys(this.#objectId)
    this.#objectKeys = keys
    this.#wrappedKey = wrappedKey
    this.#frameKeys = { objectId: this.#objectId, framesKey: keys.frames.expose(), piecesKey: keys.pieces.expose() }
    this.#writers = request.backends.map(
      (backend, index) => new ShardWriter(index, backend, { away: context.isDown(backend.name) }),
    )
  }

  async run(): Promise<NewRecord> {
    const { file, attachment } = this.#sources
    const { frameBytes, dataShards, backends, name } = this.#request
    this.#assertEnoughShards()
    const fileDigests = this.#digest(file, { blake2b: true })
    const attachmentDigests = attachment && this.#digest(attachment, { blake2b: false })
    const fileFrameCount = frameCountOf(file.sizeBytes, frameBytes)
    const crcs = await this.#sendFrames(file, 0, false)
    const attachmentCrcs = attachment && (await this.#sendFrames(attachment, fileFrameCount, true))
    await this.#sync()
    await this.#readBackSamples()
    const digests = matching(crcs, await fileDigests, this.#request.path)
    const attached = attachment && matching(attachmentCrcs!, (await attachmentDigests)!, this.#request.attachmentPath!)
    await file.assertUnchanged()
    await attachment?.assertUnchanged()
    this.#checkTime()
    return {
      state: 'live',
      objectId: this.#objectId,
      uploadId: this.#uploadId,
      createdMs: this.#startedMs,
      name,
      sizeBytes: file.sizeBytes,
      sha256: Buffer.from(digests.sha256),
      blake2b: Buffer.from(digests.blake2b!),
      dataShards,
      totalShards: backends.length,
      frameBytes,
      frames: this.#frames.slice(0, fileFrameCount),
      attachment: attachment && {
        sizeBytes: attachment.sizeBytes,
        sha256: Buffer.from(attached!.sha256),
        frames: this.#frames.slice(fileFrameCount),
      },
      wrappedKey: this.#wrappedKey,
      shards: this.#writers.map(writer => writer.finish()),
      owed: this.#writers.flatMap(({ leftovers }) => (leftovers === null ? [] : [leftovers])),
    }
  }

  /** From here on the record may exist, so its shards stay. */
  keepShards(): void {
    this.#shardsKept = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#shardsKept) await this.#discard()
    await this.#resources.disposeAsync()
  }

  /** Frames are coded in any order and sent in theirs. Slots bound how many are under way.
   *  @returns the CRC of each frame as the coders read it */
  async #sendFrames(source: SourceFile, firstFrame: number, attachment: boolean): Promise<number[]> {
    const count = frameCountOf(source.sizeBytes, this.#request.frameBytes)
    const crcs: number[] = []
    const sending = new Set<Promise<void>>()
    let failure: unknown
    let previous: Promise<void> = Promise.resolve()
    try {
      for (let index = 0; index < count && failure === undefined; index++) {
        this.#checkTime()
        const place = { frameNumber: firstFrame + index, attachment, last: index === count - 1 }
        const slotBytes = this.#slotBytes(plainBytesOf(index, source.sizeBytes, this.#request.frameBytes))
        const slot = await this.#context.pool.encodeSlots.take(slotBytes, { signal: this.#signal })
        const sent = this.#sendFrame(source, place, index, slot, crcs, previous)
        previous = sent.handedOver
        const done = sent.answered
          .catch(error => {
            failure ??= error
          })
          .finally(() => {
            slot[Symbol.dispose]()
            sending.delete(done)
          })
        sending.add(done)
      }
    } finally {
      // Slots are lent to the backends' connections until these settle.
      await Promise.all(sending)
    }
    if (failure !== undefined) throw failure
    return crcs
  }

  #sendFrame(
    source: SourceFile,
    place: FramePlace,
    index: number,
    slot: { memory: SharedArrayBuffer; bytes: Buffer },
    crcs: number[],
    previous: Promise<void>,
  ): { handedOver: Promise<void>; answered: Promise<void> } {
    const { frameBytes, dataShards, verifyFrames } = this.#request
    const plainBytes = plainBytesOf(index, source.sizeBytes, frameBytes)
    const encoded = this.#context.pool.run({
      ...{ kind: 'encode', fd: source.fd, positionBytes: index * frameBytes, plainBytes, slot: slot.memory },
      ...{ keys: this.#frameKeys, dataShards, totalShards: this.#writers.length, place, verify: verifyFrames },
    })
    encoded.catch(() => undefined)
    let answers: Promise<void>[] = []
    const handedOver = (async () => {
      await previous
      const { entry, plainCrc } = await encoded
      this.#signal?.throwIfAborted()
      crcs.push(plainCrc)
      this.#frames.push(entry)
      const pieces = cutPieces(slot.bytes, this.#writers.length, pieceBytesOf(entry.sealedBytes, dataShards))
      answers = this.#writers.map(writer => {
        const piece = pieces[writer.index]!
        return writer.put(place.frameNumber === 0 ? Buffer.concat([this.#shardHeader(writer.index), piece]) : piece, {
          signal: this.#signal,
        })
      })
    })()
    handedOver.catch(() => undefined)
    const answered = (async () => {
      try {
        await handedOver
      } finally {
        // The worker may still write to the slot when an earlier frame failed.
        await encoded.catch(() => undefined)
      }
      const settled = await Promise.allSettled(answers)
      for (const answer of settled) if (answer.status === 'rejected') throw answer.reason
      this.#assertEnoughShards()
      this.#doneBytes += plainBytes
      this.#request.onProgress?.(this.#doneBytes, this.#totalBytes)
    })()
    return { handedOver, answered }
  }

  #slotBytes(plainBytes: number): number {
    return this.#writers.length * pieceBytesOf(plainBytes + tagBytes, this.#request.dataShards)
  }

  #shardHeader(shardIndex: number): Buffer {
    const { dataShards, frameBytes, epoch, name } = this.#request
    const sealedName = this.#context.keys.sealRecord(Buffer.from(name), nameContext(this.#objectId))
    const identity = {
      objectId: this.#objectId,
      uploadId: this.#uploadId,
      startedMs: this.#startedMs,
      epoch,
      sealedName,
    }
    const shape = {
      dataShards,
      totalShards: this.#writers.length,
      shardIndex,
      frameBytes,
      wrappedKey: this.#wrappedKey,
    }
    return encodeShardHeader({ ...identity, ...shape }, this.#objectKeys.headers)
  }

  async #sync(): Promise<void> {
    await Promise.all(this.#writers.map(writer => writer.sync({ signal: this.#signal })))
    this.#assertEnoughShards()
  }

  /** One random piece per shard, before anyone deletes the original on our word. */
  async #readBackSamples(): Promise<void> {
    await Promise.all(
      this.#writers.map(async writer => {
        const frameNumber = this.#context.random(4).readUInt32LE() % this.#frames.length
        const isGood = (value: Buffer) => this.#isPiece(value, frameNumber, writer.index)
        await writer.readBack(frameNumber, isGood, { signal: this.#signal })
      }),
    )
    this.#assertEnoughShards()
  }

  #isPiece(value: Buffer, frameNumber: number, shardIndex: number): boolean {
    const entry = this.#frames[frameNumber]!
    const fileFrameCount = frameCountOf(this.#sources.file.sizeBytes, this.#request.frameBytes)
    const attachment = frameNumber >= fileFrameCount
    const last = frameNumber === fileFrameCount - 1 || frameNumber === this.#frames.length - 1
    const { dataShards } = this.#request
    const piece = frameNumber === 0 ? value.subarray(-pieceBytesOf(entry.sealedBytes, dataShards)) : value
    const { objectId, piecesKey } = this.#frameKeys
    return (
      openPiece(piece, objectId, { frameNumber, attachment, last }, entry, shardIndex, dataShards, piecesKey) !== null
    )
  }

  /** Full width, or the quorum where the monitor calls the missing backends down. */
  #assertEnoughShards(): void {
    const failed = this.#writers.filter(writer => writer.failure !== null)
    if (failed.length === 0) return
    const unexpected = failed.find(writer => !this.#context.isDown(writer.backendName))
    const { dataShards } = this.#request
    const needed = unexpected ? this.#writers.length : writeQuorum(dataShards, this.#writers.length)
    const goodCount = this.#writers.length - failed.length
    if (goodCount >= needed) return
    const cause = (unexpected ?? failed[0]!).failure!
    throw new StorError('too-few-shards', `${goodCount} of ${needed} shards could be stored: ${cause.message}`, {
      cause,
    })
  }

  /** Awaited after the frames; the file stays open until it is done, whatever becomes of the frames. */
  #digest({ sizeBytes, fd }: SourceFile, { blake2b }: { blake2b: boolean }): Promise<Digests> {
    const { frameBytes } = this.#request
    const digests = this.#context.pool.run({ kind: 'digest', fd, sizeBytes, frameBytes, blake2b })
    const settled = Promise.allSettled([digests])
    this.#resources.defer(async () => void (await settled))
    return digests
  }

  get #totalBytes(): number {
    return this.#sources.file.sizeBytes + (this.#sources.attachment?.sizeBytes ?? 0)
  }

  #checkTime(): void {
    this.#signal?.throwIfAborted()
    if (this.#context.clock.nowMs() - this.#startedMs > uploadWithinMs) {
      throw new StorError('unavailable', 'the upload took longer than its shards are spared for; it begins again')
    }
  }

  async #discard(): Promise<void> {
    const discarding = this.#writers.map(writer => writer.discard({}))
    for (const outcome of await Promise.allSettled(discarding)) {
      if (outcome.status === 'rejected') this.#context.log.warn('shard.discard_failed', { error: outcome.reason })
    }
  }
}

/** What the name in a shard header is sealed for. */
export function nameContext(objectId: Buffer): Buffer {
  return Buffer.concat([Buffer.from('object name '), objectId])
}

/** The digests, if they were made of the bytes that were stored. */
function matching(crcs: readonly number[], digests: Digests, path: string): Digests {
  if (crcs.some((crc, index) => crc !== digests.frameCrcs[index])) {
    throw new StorError('file', `${path} changed while it was being stored; store it again`)
  }
  return digests
}
