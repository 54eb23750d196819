import { createHash } from 'node:crypto'
import { zstdDecompressSync } from 'node:zlib'
import { cutSealed, macBytes, openFrame } from '@qsfs/crypto/aead'
import { KeyError } from '@qsfs/crypto/errors'
import type { KeyRing, ObjectKeys } from '@qsfs/crypto/keys'
import { type MaybeShard, ReedSolomon } from '@qsfs/erasure/reed-solomon'
import { StorError } from '../errors.ts'
import {
  FrameCoding,
  type FrameEntry,
  frameBytesMax,
  type ObjectRecord,
  type ShardPlace,
} from '../metadata/object-record.ts'
import {
  type FramePlace,
  finishPiece,
  openPiece,
  PieceFlag,
  PieceHeader,
  pieceBytesOf,
  type ShardIdentity,
  shardBytesOf,
  shardHeaderHolds,
} from '../pipeline/piece.ts'
import { runsOf } from '../pipeline/shard-writer.ts'
import { nameContext } from '../pipeline/store.ts'
import { type FoundObject, parsePiece, type Sighting } from './scan.ts'

/** A record without what the metadata store fills in. */
export type RebuiltRecord = Omit<ObjectRecord, 'generation' | 'memberSet'>

interface Options {
  readonly signal?: AbortSignal
}

/** Makes an object's record from its shards alone. Every frame is decoded from k authentic pieces and opened: what comes
 *  out is the record of an object that can be read whole. A shard that is not whole on one backend is not confirmed.
 *  @param spareNames of data backends, to name where a shard without any backend is to be put again
 *  @throws StorError 'too-few-shards' for a frame with fewer than k good pieces, or an upload that never ended; 'wrong-key'
 *  for another store's object; 'damaged' */
export async function rebuildRecord(
  found: FoundObject,
  ring: KeyRing,
  spareNames: readonly string[],
  options: Options = {},
): Promise<RebuiltRecord> {
  const { shard, keys } = await trustedHeader(found, ring, options)
  const name = openName(shard, ring)
  const frames = new FrameWalk(found, shard, keys)
  for (let frameNumber = 0; await frames.walk(frameNumber, options); frameNumber++) options.signal?.throwIfAborted()
  return { ...frames.finish(spareNames), name }
}

/** The oldest shard header that is authentic: later ones are repairs.
 *  @throws StorError */
async function trustedHeader(found: FoundObject, ring: KeyRing, options: Options) {
  let failure = new StorError('too-few-shards', 'none of its shards has a header')
  for (const { sighting } of found.headers.toSorted((a, b) => a.startedMs - b.startedMs)) {
    const value = await read(sighting, options)
    const parsed = value === null ? null : parsePiece(value)
    if (value === null || parsed?.shard == null) continue
    const { shard, headerBytes } = parsed
    try {
      const keys = ring.openObjectKeys(shard.wrappedKey, found.objectId)
      if (shardHeaderHolds(value, headerBytes, keys.headers) && isSane(shard)) return { shard, keys }
      failure = new StorError('damaged', 'its shard headers are not authentic')
    } catch (error) {
      if (!(error instanceof KeyError)) throw error
      failure = new StorError(error.reason === 'wrong-key' ? 'wrong-key' : 'damaged', error.message, { cause: error })
    }
  }
  throw failure
}

function isSane({ dataShards: k, totalShards: n, frameBytes }: ShardIdentity): boolean {
  return k >= 1 && k <= n && n <= 256 && frameBytes >= 1 && frameBytes <= frameBytesMax
}

function openName({ sealedName, objectId }: ShardIdentity, ring: KeyRing): string {
  try {
    return ring.openRecord(sealedName, nameContext(objectId)).toString()
  } catch (error) {
    if (!(error instanceof KeyError)) throw error
    throw new StorError(error.reason === 'wrong-key' ? 'wrong-key' : 'damaged', `its name: ${error.message}`)
  }
}

/** Goes over the frames of one object and adds up what its record says. */
class FrameWalk {
  readonly #found: FoundObject
  readonly #shard: ShardIdentity
  readonly #keys: ObjectKeys
  readonly #codec: ReedSolomon
  readonly #roots
  /** By shard index and backend: the ids of its good pieces, in frame order. */
  readonly #whole = new Map<string, { readonly index: number; readonly backend: string; readonly ids: number[] }>()
  readonly #parts = [part(), part()] as const
  #frameCount = 0
  #isFileWhole = false

  constructor(found: FoundObject, shard: ShardIdentity, keys: ObjectKeys) {
    this.#found = found
    this.#shard = shard
    this.#keys = keys
    this.#codec = new ReedSolomon(shard.dataShards, shard.totalShards - shard.dataShards)
    this.#roots = Array.from({ length: shard.totalShards }, () => createHash('sha256'))
  }

  /** @returns whether another frame follows */
  async walk(frameNumber: number, options: Options): Promise<boolean> {
    const { dataShards: k, totalShards: n } = this.#shard
    const shards: MaybeShard[] = Array.from({ length: n }, () => null)
    let seen: { entry: FrameEntry; place: FramePlace } | null = null
    for (const sighting of this.#found.pieces.get(frameNumber) ?? []) {
      const value = sighting.shardIndex < n ? await read(sighting, options) : null
      const good = value === null ? null : this.#openPiece(value, sighting, frameNumber)
      if (good === null) continue
      seen = good
      shards[sighting.shardIndex] = good.bytes
      this.#noteGood(sighting, frameNumber)
    }
    const goodCount = shards.filter(shard => shard !== null).length
    // Nothing authentic behind the file's last frame: it has no attachment, whatever a backend says of its values.
    if (seen === null && this.#isFileWhole) return false
    if (seen === null || goodCount < k) {
      throw new StorError('too-few-shards', `frame ${frameNumber} has ${goodCount} good pieces, ${k} are needed`)
    }
    const { entry, place } = seen
    this.#codec.reconstruct(shards, shardBytesOf(entry.sealedBytes, k))
    for (const [index, bytes] of shards.entries()) this.#roots[index]!.update(this.#macOf(bytes!, place, entry, index))
    this.#add(this.#decode(shards as Uint8Array[], place, entry), place, entry)
    this.#frameCount++
    this.#isFileWhole ||= place.last
    return !place.last || (!place.attachment && this.#found.pieces.has(frameNumber + 1))
  }

  finish(spareNames: readonly string[]): Omit<RebuiltRecord, 'name'> {
    const { objectId, uploadId, startedMs, dataShards, totalShards, frameBytes, wrappedKey } = this.#shard
    const [file, attachment] = this.#parts
    const places = Array.from({ length: totalShards }, (_, index) => this.#placeOf(index))
    const used = new Set(places.map(place => place?.backend))
    const spares = spareNames.filter(name => !used.has(name))
    const shards = places.map((place, index): ShardPlace => {
      const root = this.#roots[index]!.digest()
      if (place !== undefined) return { index, backend: place.backend, runs: runsOf(place.ids), root, confirmed: true }
      return { index, backend: spares.shift() ?? spareNames[0] ?? '', runs: [], root, confirmed: false }
    })
    return {
      ...{ state: 'live', objectId, uploadId, createdMs: startedMs, wrappedKey, blake2b: null, owed: [], shards },
      ...{ dataShards, totalShards, frameBytes, frames: file.frames },
      ...{ sizeBytes: file.sizeBytes, sha256: file.sha256.digest() },
      attachment:
        attachment.frames.length === 0
          ? null
          : { sizeBytes: attachment.sizeBytes, sha256: attachment.sha256.digest(), frames: attachment.frames },
    }
  }

  /** A backend where every piece of this shard is. */
  #placeOf(index: number) {
    return this.#whole.values().find(place => place.index === index && place.ids.length === this.#frameCount)
  }

  #openPiece(value: Buffer, { shardIndex }: Sighting, frameNumber: number) {
    const parsed = parsePiece(value)
    if (parsed === null || (frameNumber === 0 && !this.#hasHeader(value, parsed, shardIndex))) return null
    const { piece, header } = parsed
    const { dataShards, objectId, frameBytes } = this.#shard
    const { plainBytes, sealedBytes, flags } = header
    if (plainBytes > frameBytes) return null
    const entry = { plainBytes, sealedBytes, coding: flags & PieceFlag.zstd ? FrameCoding.zstd : FrameCoding.raw }
    const place = {
      frameNumber,
      attachment: (flags & PieceFlag.attachment) !== 0,
      last: (flags & PieceFlag.last) !== 0,
    }
    const bytes = openPiece(piece, objectId, place, entry, shardIndex, dataShards, this.#keys.pieces.expose())
    return bytes === null ? null : { bytes, entry, place }
  }

  /** The first value of a shard is good with its header only. */
  #hasHeader(
    value: Buffer,
    { shard, headerBytes }: NonNullable<ReturnType<typeof parsePiece>>,
    index: number,
  ): boolean {
    return shard !== null && shard.shardIndex === index && shardHeaderHolds(value, headerBytes, this.#keys.headers)
  }

  #noteGood({ backend: { name: backend }, id, shardIndex: index }: Sighting, frameNumber: number): void {
    const place = this.#whole.getOrInsertComputed(`${index} ${backend}`, () => ({ index, backend, ids: [] }))
    if (place.ids.length === frameNumber) place.ids.push(id)
  }

  #macOf(bytes: Uint8Array, place: FramePlace, entry: FrameEntry, index: number): Buffer {
    const { dataShards, objectId } = this.#shard
    const piece = Buffer.alloc(pieceBytesOf(entry.sealedBytes, dataShards))
    piece.set(bytes, PieceHeader.sizeBytes)
    finishPiece(piece, objectId, place, entry, index, this.#keys.pieces.expose())
    return piece.subarray(-macBytes)
  }

  #decode(shards: readonly Uint8Array[], { frameNumber }: FramePlace, entry: FrameEntry): Buffer {
    const { objectId, dataShards } = this.#shard
    const parts: Buffer[] = []
    try {
      const sealed = cutSealed(shards.slice(0, dataShards), entry.sealedBytes)
      openFrame(this.#keys.frames.expose(), objectId, frameNumber, sealed, part => parts.push(part))
      const opened = Buffer.concat(parts)
      if (entry.coding === FrameCoding.raw) return opened
      return zstdDecompressSync(opened, { maxOutputLength: Math.max(1, entry.plainBytes) })
    } catch (cause) {
      throw new StorError('damaged', `frame ${frameNumber}: ${(cause as Error).message}`, { cause })
    }
  }

  #add(plain: Buffer, place: FramePlace, entry: FrameEntry): void {
    const target = this.#parts[place.attachment ? 1 : 0]
    target.sizeBytes += plain.length
    target.sha256.update(plain)
    target.frames.push(entry)
  }
}

function part() {
  const frames: FrameEntry[] = []
  return { frames, sha256: createHash('sha256'), sizeBytes: 0 }
}

async function read({ backend, id }: Sighting, options: Options): Promise<Buffer | null> {
  try {
    return await backend.get(id, options)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (error instanceof StorError) return null
    throw error
  }
}
