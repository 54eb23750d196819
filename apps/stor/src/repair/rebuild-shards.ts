import assert from 'node:assert'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { KeyRing } from '@qsfs/crypto/keys'
import { type MaybeShard, ReedSolomon } from '@qsfs/erasure/reed-solomon'
import type { Log } from '@qsfs/telemetry/log'
import type { Backend } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import type { ShardPlace } from '../metadata/object-record.ts'
import { shardOfPiece } from '../pipeline/piece.ts'
import { ShardWriter } from '../pipeline/shard-writer.ts'
import { nameContext } from '../pipeline/store.ts'
import type { RepairBudget, TakeOptions } from './budget.ts'
import type { ObjectPieces } from './object-pieces.ts'
import { readWithin } from './verify-shard.ts'

export interface RebuildTarget {
  readonly index: number
  readonly backend: Backend
}

/** A confirmed shard to read from. */
export interface RebuildSource {
  readonly place: ShardPlace
  readonly backend: Backend
  /** Not asked before others: its backend is down, or some of its pieces are bad. The others may still be needed. */
  readonly isLastResort: boolean
}

export interface RebuildContext {
  readonly keys: KeyRing
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly budget: RepairBudget
  /** A source's piece was wrong or missing: its shard is to be looked at next. */
  onFault(shardIndex: number): void
}

/** Shards that are on their backends' disks now, and why the others are not. */
export interface Rebuilt {
  readonly places: readonly ShardPlace[]
  readonly failures: readonly StorError[]
  /** Removes what was written, where it is not to be used after all. */
  discard(): Promise<void>
}

/** Computes shards anew from k good ones, frame by frame, and writes them: pieces, sync, one piece read back each. Two
 *  frames are in memory at a time. What is written is proven to be the shard by its root in the record.
 *  @throws StorError 'too-few-shards'; the first failure when no shard could be written; nothing is left behind then, as
 *  far as it can be reached */
export async function rebuildShards(
  pieces: ObjectPieces,
  targets: readonly RebuildTarget[],
  sources: readonly RebuildSource[],
  context: RebuildContext,
  options: TakeOptions,
): Promise<Rebuilt> {
  const rebuild = new Rebuild(pieces, targets, sources, context, options)
  try {
    return await rebuild.run()
  } catch (error) {
    await rebuild.discard()
    throw error
  }
}

class Rebuild {
  readonly #pieces: ObjectPieces
  readonly #sources: readonly RebuildSource[]
  readonly #context: RebuildContext
  readonly #options: TakeOptions
  readonly #writers: readonly ShardWriter[]
  readonly #codec: ReedSolomon
  /** By shard index: who disappointed is asked last. */
  readonly #faultCounts: number[]
  readonly #header: (shardIndex: number) => Buffer

  constructor(
    pieces: ObjectPieces,
    targets: readonly RebuildTarget[],
    sources: readonly RebuildSource[],
    context: RebuildContext,
    options: TakeOptions,
  ) {
    this.#pieces = pieces
    this.#sources = sources
    this.#context = context
    this.#options = options
    this.#writers = targets.map(({ index, backend }) => new ShardWriter(index, backend, { away: false }))
    const { dataShards, totalShards, objectId, name, generation } = pieces.record
    this.#codec = new ReedSolomon(dataShards, totalShards - dataShards)
    this.#faultCounts = pieces.record.shards.map(() => 0)
    // A writing of its own: the sweeper knows by it how old pieces are that no record names.
    const uploadId = context.random(16)
    const startedMs = Math.floor(context.clock.nowMs())
    const sealedName = context.keys.sealRecord(Buffer.from(name), nameContext(objectId))
    this.#header = index => pieces.header(index, { uploadId, startedMs, epoch: generation.epoch, sealedName })
  }

  async run(): Promise<Rebuilt> {
    const { budget, random } = this.#context
    const { signal } = this.#options
    const pieces = this.#pieces
    let written: Promise<unknown> = Promise.resolve()
    for (let frameNumber = 0; frameNumber < pieces.frameCount; frameNumber++) {
      const pieceCount = pieces.record.dataShards + this.#writers.length
      await budget.take(pieceCount * pieces.pieceBytes(frameNumber), this.#options)
      const shards = await this.#gather(frameNumber)
      budget.compute(() => this.#codec.reconstruct(shards, pieces.shardBytes(frameNumber)))
      await budget.within(written)
      this.#assertUseful()
      written = Promise.all(this.#writers.map(writer => this.#put(writer, shards[writer.index]!, frameNumber)))
      // Awaited one frame later, and after a failure of the next one by nobody.
      written.catch(() => undefined)
    }
    await budget.within(written)
    this.#assertUseful()
    await budget.within(Promise.all(this.#writers.map(writer => writer.sync({ signal }))))
    const sample = random(4).readUInt32LE() % pieces.frameCount
    await budget.within(
      Promise.all(
        this.#writers.map(writer => {
          const isGood = (value: Buffer) => pieces.open(value, sample, writer.index) !== null
          return writer.readBack(sample, isGood, { signal })
        }),
      ),
    )
    this.#assertUseful()
    return await this.#finish()
  }

  /** Never rejects: what cannot be removed is an orphan, which the sweeper removes. */
  async discard(writers = this.#writers): Promise<void> {
    for (const outcome of await Promise.allSettled(
      writers.map(writer => this.#context.budget.within(writer.discard({}))),
    )) {
      if (outcome.status === 'rejected') this.#context.log.warn('shard.discard_failed', { error: outcome.reason })
    }
  }

  async #finish(): Promise<Rebuilt> {
    const good = this.#writers.filter(({ failure }) => failure === null)
    const places = good.map(writer => writer.finish())
    for (const { index, root } of places) {
      // k authentic shards gave another shard than the first upload: the record is wrong, or we are.
      if (root.equals(this.#pieces.record.shards[index]!.root)) continue
      throw new StorError('damaged', `shard ${index} was rebuilt as something else than was stored`)
    }
    const bad = this.#writers.filter(({ failure }) => failure !== null)
    await this.discard(bad)
    return { places, failures: bad.map(({ failure }) => failure!), discard: () => this.discard(good) }
  }

  #put(writer: ShardWriter, shard: Uint8Array, frameNumber: number): Promise<void> {
    const piece = this.#pieces.build(shard, frameNumber, writer.index)
    const value = frameNumber === 0 ? Buffer.concat([this.#header(writer.index), piece]) : piece
    return writer.put(value, { signal: this.#options.signal })
  }

  /** The good shards of a frame, k of them; the others null. */
  async #gather(frameNumber: number): Promise<MaybeShard[]> {
    const { record } = this.#pieces
    const shards: MaybeShard[] = record.shards.map(() => null)
    const cost = ({ place, isLastResort }: RebuildSource) => (isLastResort ? 1e9 : 0) + this.#faultCounts[place.index]!
    const candidates = this.#sources.toSorted((a, b) => cost(a) - cost(b))
    const gatherOne = async (): Promise<boolean> => {
      for (let next = candidates.shift(); next !== undefined; next = candidates.shift()) {
        const piece = await this.#read(next, frameNumber)
        if (piece === null) continue
        shards[next.place.index] = shardOfPiece(piece)
        return true
      }
      return false
    }
    const gathered = await Promise.all(Array.from({ length: record.dataShards }, gatherOne))
    const goodCount = gathered.filter(isGood => isGood).length
    if (goodCount === record.dataShards) return shards
    const text = `frame ${frameNumber} has ${goodCount} good pieces, ${record.dataShards} are needed`
    throw new StorError('too-few-shards', text)
  }

  async #read({ place, backend }: RebuildSource, frameNumber: number): Promise<Buffer | null> {
    const { budget, onFault } = this.#context
    const { state, piece } = await readWithin(this.#pieces, backend, place, frameNumber, budget, this.#options)
    if (piece !== null) return piece
    this.#faultCounts[place.index]!++
    if (state !== 'unavailable') onFault(place.index)
    return null
  }

  #assertUseful(): void {
    this.#options.signal?.throwIfAborted()
    const [first] = this.#writers
    assert(first !== undefined, 'a rebuild writes at least one shard')
    if (this.#writers.every(({ failure }) => failure !== null)) throw first.failure
  }
}
