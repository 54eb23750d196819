import assert from 'node:assert'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { KeyRing, ObjectKeys } from '@qsfs/crypto/keys'
import type { Log } from '@qsfs/telemetry/log'
import type { Backend } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import { frameBytesMax, frameCountOf, type ObjectRecord } from '../metadata/object-record.ts'
import { openSource, type SourceFile } from '../segment-file.ts'
import type { FrameKeys } from './frame.ts'
import type { FramePool } from './frame-pool.ts'
import { FrameSender } from './frame-sender.ts'
import { encodeShardHeader, openPiece, pieceBytesOf } from './piece.ts'
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
  /** So many shards must be on their backends' disks; the others are owed. */
  readonly writeQuorum: number
  readonly frameBytes: number
  readonly epoch: number
  /** Try to compress every frame. */
  readonly compress: boolean
  /** Decode every frame again before it is sent. */
  readonly verifyFrames: boolean
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void
}

/** The record of what was stored; generation and member set are the metadata store's to fill in. */
export type NewRecord = Omit<ObjectRecord, 'generation' | 'memberSet'>

/** Half of what orphans are spared for (24 h), so that no upload outlives its own shards. */
const uploadWithinMs = 12 * 60 * 60 * 1000

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
  readonly #sender: FrameSender
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
    const { dataShards, frameBytes, compress, verifyFrames } = request
    this.#sender = new FrameSender(context.pool, this.#writers, {
      ...{ keys: this.#frameKeys, dataShards, frameBytes, compress, verifyFrames, signal },
      shardHeader: shardIndex => this.#shardHeader(shardIndex),
      assertUseful: () => this.#assertUseful(),
      onSent: plainBytes => this.#sent(plainBytes),
    })
  }

  async run(): Promise<NewRecord> {
    const { file, attachment } = this.#sources
    const { frameBytes, dataShards, backends, name } = this.#request
    this.#assertUseful()
    const fileFrameCount = frameCountOf(file.sizeBytes, frameBytes)
    const digests = await this.#sender.send(file, { attachment: false })
    const attached = attachment && (await this.#sender.send(attachment, { attachment: true }))
    await this.#sync()
    await this.#readBackSamples()
    await file.assertUnchanged()
    await attachment?.assertUnchanged()
    this.#assertUseful()
    return {
      state: 'live',
      objectId: this.#objectId,
      uploadId: this.#uploadId,
      createdMs: this.#startedMs,
      name,
      sizeBytes: file.sizeBytes,
      sha256: Buffer.from(digests.sha256),
      blake2b: null,
      dataShards,
      totalShards: backends.length,
      frameBytes,
      frames: this.#sender.frames.slice(0, fileFrameCount),
      attachment: attachment && {
        sizeBytes: attachment.sizeBytes,
        sha256: Buffer.from(attached!.sha256),
        frames: this.#sender.frames.slice(fileFrameCount),
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
    this.#assertUseful()
  }

  /** One random piece per shard, before anyone deletes the original on our word. */
  async #readBackSamples(): Promise<void> {
    await Promise.all(
      this.#writers.map(async writer => {
        const frameNumber = this.#context.random(4).readUInt32LE() % this.#sender.frames.length
        const isGood = (value: Buffer) => this.#isPiece(value, frameNumber, writer.index)
        await writer.readBack(frameNumber, isGood, { signal: this.#signal })
      }),
    )
    this.#assertUseful()
  }

  #isPiece(value: Buffer, frameNumber: number, shardIndex: number): boolean {
    const entry = this.#sender.frames[frameNumber]!
    const fileFrameCount = frameCountOf(this.#sources.file.sizeBytes, this.#request.frameBytes)
    const attachment = frameNumber >= fileFrameCount
    const last = frameNumber === fileFrameCount - 1 || frameNumber === this.#sender.frames.length - 1
    const { dataShards } = this.#request
    const piece = frameNumber === 0 ? value.subarray(-pieceBytesOf(entry.sealedBytes, dataShards)) : value
    const { objectId, piecesKey } = this.#frameKeys
    return (
      openPiece(piece, objectId, { frameNumber, attachment, last }, entry, shardIndex, dataShards, piecesKey) !== null
    )
  }

  /** At the write quorum at least; in time; and still wanted. */
  #assertUseful(): void {
    this.#signal?.throwIfAborted()
    if (this.#context.clock.nowMs() - this.#startedMs > uploadWithinMs) {
      throw new StorError('unavailable', 'the upload took longer than its shards are spared for; it begins again')
    }
    const failures = this.#writers.map(({ failure }) => failure).filter(failure => failure !== null)
    const goodCount = this.#writers.length - failures.length
    const { writeQuorum } = this.#request
    if (goodCount >= writeQuorum) return
    const text = `only ${goodCount} of ${this.#writers.length} shards could be stored, at least ${writeQuorum} must be`
    // Where there is no room another placement helps, and the reason says so.
    const cause = failures.find(({ reason }) => reason === 'full') ?? failures[0]!
    const reasons = new Set(failures.map(({ message }) => message))
    throw new StorError('too-few-shards', `${text}: ${[...reasons].join('; ')}`, { cause })
  }

  #sent(plainBytes: number): void {
    const { file, attachment } = this.#sources
    this.#doneBytes += plainBytes
    this.#request.onProgress?.(this.#doneBytes, file.sizeBytes + (attachment?.sizeBytes ?? 0))
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
