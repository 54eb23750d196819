import { layout } from '@qsfs/bytes/layout'
import type { Log } from '@qsfs/telemetry/log'
import type { Backend } from '../backend/backend.ts'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import { ByteReader } from '../metadata/byte-reader.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { looksLikeSuperblock } from '../metadata/superblock.ts'
import type { Identity } from './identity.ts'

const MAGIC = Buffer.from('QSSC')
const VERSION = 1
const KIND = 0x79
/** docs/formats/superblock.md: where a data backend's copy lies. */
export const CopyRecord = layout('superblock_copy', 32, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  counter: [8, 'u53'],
  pieceId: [16, 'u53'],
  reserved: [24, 'u64'],
})

interface Signalled {
  readonly signal?: AbortSignal
}

/** Keeps a copy of the superblock on every data backend: with the master secret and the data backends alone `stor recover`
 *  rebuilds the rest. It is as sealed there as anywhere. */
export class SuperblockCopies {
  readonly #identity: Identity
  readonly #meta: MetaStore
  readonly #fleet: Fleet
  readonly #log: Log

  constructor(identity: Identity, meta: MetaStore, fleet: Fleet, log: Log) {
    this.#identity = identity
    this.#meta = meta
    this.#fleet = fleet
    this.#log = log
  }

  /** Brings the copies up to date on all data backends that are up and hold something: an empty one is new, or lost its
   *  disk, and is to be seen as empty until it has shards again.
   *  @throws StorError of the metadata backends */
  async refresh(options: Signalled = {}): Promise<void> {
    for (const { backend } of this.#fleet.data) {
      if (this.#fleet.isDown(backend.name)) continue
      try {
        const { valueCount } = await backend.stat(options)
        if (valueCount > 0) await this.#refreshOn(backend, options)
      } catch (error) {
        options.signal?.throwIfAborted()
        if (!(error instanceof StorError)) throw error
        this.#log.warn('superblock.not_copied', { backend: backend.name, error })
      }
    }
  }

  async #refreshOn(backend: Backend, options: Signalled): Promise<void> {
    const { bytes, superblock } = this.#identity
    const key = Buffer.concat([Buffer.of(KIND), superblock.keys.nameHash(`superblock copy ${backend.name}`)])
    const stored = await this.#meta.get(key, options)
    const known = stored === null ? null : decodeCopyRecord(stored.bytes)
    if (known !== null && known.counter === superblock.counter && (await holds(backend, known.pieceId, bytes))) return
    const pieceId = await backend.put(bytes, options)
    await backend.sync({ ...options, ids: [pieceId] })
    const record = { magic: MAGIC, version: VERSION, counter: superblock.counter, pieceId, reserved: 0n }
    await this.#meta.put(key, () => CopyRecord.toBuffer(record), options)
    // The id may have been given anew by a backend that lost its disk: only a superblock is removed.
    if (known !== null && (await isSuperblock(backend, known.pieceId))) await backend.remove([known.pieceId], options)
  }
}

/** @throws StorError 'damaged' */
export function decodeCopyRecord(bytes: Buffer): { readonly counter: number; readonly pieceId: number } {
  const reader = new ByteReader(bytes, 'a record of a copy')
  const { magic, version, counter, pieceId } = reader.read(CopyRecord)
  reader.end()
  if (!magic.equals(MAGIC) || version !== VERSION) throw reader.damaged(`is not of version ${VERSION}`)
  return { counter, pieceId }
}

async function holds(backend: Backend, id: number, bytes: Buffer): Promise<boolean> {
  return (await valueAt(backend, id))?.equals(bytes) ?? false
}

async function isSuperblock(backend: Backend, id: number): Promise<boolean> {
  const value = await valueAt(backend, id)
  return value !== null && looksLikeSuperblock(value)
}

async function valueAt(backend: Backend, id: number): Promise<Buffer | null> {
  try {
    return await backend.get(id)
  } catch (error) {
    if (error instanceof StorError && (error.reason === 'missing' || error.reason === 'damaged')) return null
    throw error
  }
}
