import { KeyError } from '@qsfs/crypto/errors'
import type { KeyRing, ObjectKeys } from '@qsfs/crypto/keys'
import type { Backend, BackendOptions, PieceId } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import type { FrameEntry, ObjectRecord, ShardPlace } from '../metadata/object-record.ts'
import {
  decodeShardHeader,
  encodeShardHeader,
  type FramePlace,
  finishPiece,
  objectIdOfValue,
  openPiece,
  PieceHeader,
  pieceBytesOf,
  type ShardIdentity,
  shardBytesOf,
  shardHeaderHolds,
} from '../pipeline/piece.ts'
import { idOfPiece } from '../pipeline/shard-writer.ts'

/** One piece as a backend showed it. `good`: exactly this piece; `wrong`: other bytes; `missing`: the backend does not
 *  hold it; `unavailable`: it did not answer. */
export interface PieceRead {
  readonly state: 'good' | 'wrong' | 'missing' | 'unavailable'
  /** The whole piece, without a shard header; null unless good. */
  readonly piece: Buffer | null
  /** The id, when what lies there is this object's, or nobody's who could still use it; else null. */
  readonly ownId: PieceId | null
}

/** Who counts the time of coding and checking: a `RepairBudget`. */
export interface Meter {
  compute<T>(work: () => T): T
}

/** The pieces of one object: read and checked, or built again from a shard's bytes. Ciphertext only: nothing is decrypted
 *  or encrypted here. */
export class ObjectPieces {
  readonly record: ObjectRecord
  readonly #keys: ObjectKeys
  readonly #frames: readonly FrameEntry[]
  readonly #meter: Meter

  /** @param meter is told of what takes the processor's time
   *  @throws StorError 'wrong-key' or 'damaged' when the object's key cannot be unwrapped */
  constructor(record: ObjectRecord, keys: KeyRing, meter: Meter) {
    this.record = record
    this.#meter = meter
    this.#frames = [...record.frames, ...(record.attachment?.frames ?? [])]
    try {
      this.#keys = keys.openObjectKeys(record.wrappedKey, record.objectId)
    } catch (error) {
      if (!(error instanceof KeyError)) throw error
      const reason = error.reason === 'wrong-key' ? 'wrong-key' : 'damaged'
      const text = `the key of object ${record.objectId.toString('hex')}: ${error.message}`
      throw new StorError(reason, text, { cause: error })
    }
  }

  get frameCount(): number {
    return this.#frames.length
  }

  shardBytes(frameNumber: number): number {
    return shardBytesOf(this.#frames[frameNumber]!.sealedBytes, this.record.dataShards)
  }

  pieceBytes(frameNumber: number): number {
    return pieceBytesOf(this.#frames[frameNumber]!.sealedBytes, this.record.dataShards)
  }

  /** Bytes of one whole shard, its header apart. */
  get shardTotalBytes(): number {
    return this.#frames.reduce((sum, _, frameNumber) => sum + this.pieceBytes(frameNumber), 0)
  }

  /** Reads one piece. @throws only the signal's reason, and what is a bug */
  async read(backend: Backend, place: ShardPlace, frameNumber: number, options: BackendOptions): Promise<PieceRead> {
    let id: PieceId | null = null
    try {
      id = idOfPiece(place.runs, frameNumber)
      const value = await backend.get(id, options)
      const piece = this.open(value, frameNumber, place.index)
      if (piece !== null) return { state: 'good', piece, ownId: id }
      const isOurs = objectIdOfValue(value)?.equals(this.record.objectId) === true
      return { state: 'wrong', piece: null, ownId: isOurs ? id : null }
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!(error instanceof StorError)) throw error
      if (error.reason === 'missing') return { state: 'missing', piece: null, ownId: null }
      // What fails its backend's own check is of no use to anybody.
      if (error.reason === 'damaged') return { state: 'wrong', piece: null, ownId: id }
      return { state: 'unavailable', piece: null, ownId: null }
    }
  }

  /** The piece in a stored value, null when it is anything else than exactly this one (with its shard header, if first). */
  open(value: Buffer, frameNumber: number, shardIndex: number): Buffer | null {
    const { objectId, dataShards } = this.record
    const piece = frameNumber === 0 ? value.subarray(-this.pieceBytes(0)) : value
    if (frameNumber === 0 && !this.#hasHeader(value, shardIndex)) return null
    const place = this.#placeOf(frameNumber)
    const entry = this.#frames[frameNumber]!
    const key = this.#keys.pieces.expose()
    const isGood = () => openPiece(piece, objectId, place, entry, shardIndex, dataShards, key) !== null
    return this.#meter.compute(isGood) ? piece : null
  }

  /** The piece of a shard's bytes: the same bytes as the first upload's. */
  build(shard: Uint8Array, frameNumber: number, shardIndex: number): Buffer {
    const piece = Buffer.allocUnsafeSlow(this.pieceBytes(frameNumber))
    piece.set(shard, PieceHeader.sizeBytes)
    const entry = this.#frames[frameNumber]!
    const key = this.#keys.pieces.expose()
    const { objectId } = this.record
    this.#meter.compute(() => finishPiece(piece, objectId, this.#placeOf(frameNumber), entry, shardIndex, key))
    return piece
  }

  /** What stands before the first piece of a shard that a repair writes. */
  header(shardIndex: number, writer: Pick<ShardIdentity, 'uploadId' | 'startedMs' | 'epoch' | 'sealedName'>): Buffer {
    const { objectId, dataShards, totalShards, frameBytes, wrappedKey } = this.record
    const shape = { objectId, dataShards, totalShards, frameBytes, wrappedKey, shardIndex }
    return encodeShardHeader({ ...shape, ...writer }, this.#keys.headers)
  }

  #hasHeader(value: Buffer, shardIndex: number): boolean {
    try {
      const { shard, headerBytes } = decodeShardHeader(value)
      const isThis = shard.objectId.equals(this.record.objectId) && shard.shardIndex === shardIndex
      const isWhole = headerBytes + this.pieceBytes(0) === value.length
      return isThis && isWhole && shardHeaderHolds(value, headerBytes, this.#keys.headers)
    } catch (error) {
      if (error instanceof StorError && error.reason === 'damaged') return false
      throw error
    }
  }

  #placeOf(frameNumber: number): FramePlace {
    const fileFrameCount = this.record.frames.length
    const last = frameNumber === fileFrameCount - 1 || frameNumber === this.#frames.length - 1
    return { frameNumber, attachment: frameNumber >= fileFrameCount, last }
  }
}
