import { releaseMemory } from '@qsfs/bytes/release'
import type { Clock } from '@qsfs/concurrency/clock'
import { KeyError } from '@qsfs/crypto/errors'
import type { KeyRing } from '@qsfs/crypto/keys'
import type { Backend } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import type { FrameEntry, ObjectRecord, ShardPlace } from '../metadata/object-record.ts'
import type { FrameKeys } from './frame.ts'
import type { DecodeJob } from './frame-jobs.ts'
import type { FramePool, Slot } from './frame-pool.ts'
import { type FramePlace, isOtherPiece, openPiece, pieceBytesOf, shardBytesOf } from './piece.ts'
import type { ReadLatencies } from './read-latency.ts'
import { idOfPiece } from './shard-writer.ts'

/** What went wrong with one piece while others stood in for it: it was another piece, it was damaged, the backend does not
 *  hold it, did not answer, or had not answered when a spare was asked. */
export interface PieceFault {
  readonly kind: 'wrong' | 'corrupt' | 'missing' | 'unavailable' | 'slow'
  readonly objectId: string
  readonly backend: string
  readonly shardIndex: number
  readonly frameNumber: number
}

export interface ReadContext {
  readonly pool: FramePool
  readonly keys: KeyRing
  readonly clock: Clock
  /** The data backend of this name, if the config still has it. */
  backend(name: string): Backend | undefined
  isDown(backendName: string): boolean
  /** Of all readers: who is quick, and when a spare is asked. */
  readonly latencies: ReadLatencies
  /** Counts and logs; the piece is to be rewritten. */
  onFault(fault: PieceFault): void
}

interface Asked {
  readonly backend: string
  readonly askedMs: number
  readonly answer: Promise<Answer>
}
/** What a backend gave, and the shard's bytes in it; null where it is no good. */
type Answer = { readonly place: ShardPlace } & (
  | { readonly value: Buffer; readonly shard: Buffer }
  | { readonly value: null; readonly shard: null }
)

/** Reads the frames of one object: first the k shards that promise to be quickest, a spare for each that disappoints.
 *  Every piece is checked before it takes part. */
export class ObjectReader {
  readonly #record: ObjectRecord
  readonly #context: ReadContext
  readonly #keys: FrameKeys
  readonly #frames: readonly FrameEntry[]
  /** Faults met in this object, by shard index, slowness aside: who disappointed is asked last. */
  readonly #faultCounts: number[]

  /** @throws StorError 'wrong-key' or 'damaged' when the object's key cannot be unwrapped, 'not-found' for a deleted one */
  constructor(record: ObjectRecord, context: ReadContext) {
    if (record.state === 'deleted')
      throw new StorError('not-found', `object ${record.objectId.toString('hex')} is deleted`)
    this.#record = record
    this.#context = context
    this.#keys = frameKeys(record, context.keys)
    this.#frames = [...record.frames, ...(record.attachment?.frames ?? [])]
    this.#faultCounts = record.shards.map(() => 0)
  }

  /** Lends the plain bytes of one frame, at the start of a slot, until `use` has settled. A file's frames come first, its
   *  attachment's after them.
   *  @param target where the bytes are written before that
   *  @throws StorError 'too-few-shards' when fewer than k good pieces are to be had, 'file', 'damaged' */
  async lendFrame<T>(
    frameNumber: number,
    use: (plain: Slot, plainBytes: number) => Promise<T>,
    { target = null, signal }: { readonly target?: DecodeJob['target']; readonly signal?: AbortSignal } = {},
  ): Promise<T> {
    const entry = this.#frames[frameNumber]!
    const { dataShards, totalShards } = this.#record
    const shardBytes = shardBytesOf(entry.sealedBytes, dataShards)
    const slotBytes = Math.max(dataShards * shardBytes, entry.plainBytes)
    using slot = await this.#context.pool.decodeSlots.take(slotBytes, { signal })
    const place = this.#placeOf(frameNumber)
    const shardIndexes = await this.#gather(place, entry, slot, signal)
    await this.#context.pool.run({
      ...{ kind: 'decode', entry, shardIndexes, slot: slot.memory, target },
      ...{ keys: this.#keys, dataShards, totalShards, place },
    })
    return await use(slot, entry.plainBytes)
  }

  /** Fills the slot with k good shards; answers their indexes in the slot's order. */
  async #gather(place: FramePlace, entry: FrameEntry, slot: Slot, signal: AbortSignal | undefined): Promise<number[]> {
    const { dataShards } = this.#record
    const shardBytes = shardBytesOf(entry.sealedBytes, dataShards)
    const enough = new AbortController()
    const stop = signal === undefined ? enough.signal : AbortSignal.any([signal, enough.signal])
    const { clock, latencies } = this.#context
    const candidates = this.#candidates()
    const names = candidates.map(({ backend }) => backend)
    const chosen = names.slice(0, dataShards)
    const asked = new Map<number, Asked>()
    let lastAskedMs = 0
    const askOne = () => {
      const next = candidates.shift()
      if (next === undefined) return
      lastAskedMs = clock.monotonicMs()
      latencies.asked(next.backend, lastAskedMs)
      const answer = this.#ask(next, place, entry, stop)
      asked.set(next.index, { backend: next.backend, askedMs: lastAskedMs, answer })
    }
    const gathered: number[] = []
    const slow = new Set<number>()
    try {
      while (asked.size < dataShards && candidates.length > 0) askOne()
      while (gathered.length < dataShards) {
        if (asked.size === 0) throw this.#tooFew(place.frameNumber, gathered.length)
        const spareAtMs = candidates.length === 0 ? null : lastAskedMs + latencies.spareAfterMs(chosen, names)
        const answer = await this.#firstAnswer(asked, spareAtMs)
        signal?.throwIfAborted()
        if (answer === 'slow') {
          for (const index of asked.keys()) {
            if (!slow.has(index)) this.#fault('slow', this.#record.shards[index]!, place.frameNumber)
            slow.add(index)
          }
          latencies.spareAsked()
          askOne()
          continue
        }
        asked.delete(answer.place.index)
        if (answer.shard === null) {
          askOne()
          continue
        }
        slot.bytes.set(answer.shard, gathered.length * shardBytes)
        releaseMemory(answer.value)
        gathered.push(answer.place.index)
      }
    } finally {
      enough.abort()
      const nowMs = clock.monotonicMs()
      for (const { backend, askedMs } of asked.values()) latencies.abandoned(backend, nowMs - askedMs)
    }
    return gathered
  }

  /** @param spareAtMs monotonic; null: there is no spare to ask */
  async #firstAnswer(asked: ReadonlyMap<number, Asked>, spareAtMs: number | null): Promise<Answer | 'slow'> {
    const answers = asked.values().map(({ answer }) => answer)
    if (spareAtMs === null) return Promise.race(answers)
    const { clock } = this.#context
    const slow = Promise.withResolvers<'slow'>()
    const cancel = clock.schedule(Math.max(0, spareAtMs - clock.monotonicMs()), () => slow.resolve('slow'))
    try {
      return await Promise.race([...answers, slow.promise])
    } finally {
      cancel()
    }
  }

  /** Never rejects: whatever happens is an answer without a shard. */
  async #ask(shard: ShardPlace, place: FramePlace, entry: FrameEntry, signal: AbortSignal): Promise<Answer> {
    const { objectId, dataShards } = this.#record
    const { clock, latencies } = this.#context
    const askedMs = clock.monotonicMs()
    try {
      const backend = this.#context.backend(shard.backend)
      if (backend === undefined) throw new StorError('unavailable', `no backend is named ${shard.backend}`)
      const value = await backend.get(idOfPiece(shard.runs, place.frameNumber), { signal })
      if (!signal.aborted) latencies.answered(shard.backend, clock.monotonicMs() - askedMs)
      // The first piece has the shard's header before it.
      const piece = place.frameNumber === 0 ? value.subarray(-pieceBytesOf(entry.sealedBytes, dataShards)) : value
      const opened = openPiece(piece, objectId, place, entry, shard.index, dataShards, this.#keys.piecesKey)
      if (opened === null) {
        const isOther = isOtherPiece(piece, objectId, place.frameNumber, shard.index)
        this.#fault(isOther ? 'wrong' : 'corrupt', shard, place.frameNumber)
      }
      return opened === null ? { place: shard, value: null, shard: null } : { place: shard, value, shard: opened }
    } catch (error) {
      if (!signal.aborted) this.#fault(faultKind(error), shard, place.frameNumber)
      return { place: shard, value: null, shard: null }
    }
  }

  /** Best first: backends that are up, that did not disappoint yet, that do not lag, and data before parity, which saves
   *  decoding. */
  #candidates(): ShardPlace[] {
    const { clock, latencies } = this.#context
    const isDown = (name: string) => this.#context.isDown(name)
    const confirmed = this.#record.shards.filter(shard => shard.confirmed)
    const names = confirmed.map(({ backend }) => backend).filter(name => !isDown(name))
    const laggards = latencies.laggards(names, clock.monotonicMs())
    const cost = ({ backend, index }: ShardPlace) => [
      isDown(backend) ? 1 : 0,
      this.#faultCounts[index]!,
      laggards.get(backend) ?? 0,
      index,
    ]
    const byCost = (a: readonly number[], b: readonly number[]) =>
      a.map((value, i) => value - b[i]!).find(difference => difference !== 0) ?? 0
    return confirmed.sort((a, b) => byCost(cost(a), cost(b)))
  }

  #placeOf(frameNumber: number): FramePlace {
    const fileFrameCount = this.#record.frames.length
    const last = frameNumber === fileFrameCount - 1 || frameNumber === this.#frames.length - 1
    return { frameNumber, attachment: frameNumber >= fileFrameCount, last }
  }

  #fault(kind: PieceFault['kind'], shard: ShardPlace, frameNumber: number): void {
    // Who is slow is asked later by what is known of its latency, and becomes quick again by it.
    if (kind !== 'slow') this.#faultCounts[shard.index]!++
    const objectId = this.#record.objectId.toString('hex')
    this.#context.onFault({ kind, objectId, backend: shard.backend, shardIndex: shard.index, frameNumber })
  }

  #tooFew(frameNumber: number, goodCount: number): StorError {
    const { dataShards, objectId } = this.#record
    const text = `frame ${frameNumber} of object ${objectId.toString('hex')} has ${goodCount} good pieces, ${dataShards} are needed`
    return new StorError('too-few-shards', text)
  }
}

function frameKeys({ wrappedKey, objectId }: ObjectRecord, keys: KeyRing): FrameKeys {
  try {
    const { frames, pieces } = keys.openObjectKeys(wrappedKey, objectId)
    return { objectId, framesKey: frames.expose(), piecesKey: pieces.expose() }
  } catch (error) {
    if (!(error instanceof KeyError)) throw error
    const reason = error.reason === 'wrong-key' ? 'wrong-key' : 'damaged'
    throw new StorError(reason, `the key of object ${objectId.toString('hex')}: ${error.message}`, { cause: error })
  }
}

function faultKind(error: unknown): PieceFault['kind'] {
  if (!(error instanceof StorError)) throw error
  if (error.reason === 'missing') return 'missing'
  return error.reason === 'damaged' ? 'corrupt' : 'unavailable'
}
