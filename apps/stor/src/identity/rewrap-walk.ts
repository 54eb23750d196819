import type { KeyRing } from '@qsfs/crypto/keys'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { objectIdOfKey } from '../metadata/name-record.ts'
import { decodeRecord, encodeRecord } from '../metadata/object-record.ts'

/** Where the newest root key stands under which everything is sealed: 'k', as u32. */
const DONE_KEY = Buffer.from('k')

/** How far a deep rotation is. */
export interface RewrapProgress {
  readonly doneCount: number
  readonly totalCount: number
}

/** After a deep rotation: seals every record anew under the newest root key, and in it the object's key. No shard is
 *  touched. May be broken off and begun again at any record: what is done is left alone. */
export class RewrapWalk {
  readonly #meta: MetaStore
  readonly #keys: KeyRing
  /** The newest root key when the last whole walk was over; null until that was looked up. */
  #doneForRootId: number | null
  #progress: RewrapProgress | null = null

  constructor(meta: MetaStore, keys: KeyRing) {
    this.#meta = meta
    this.#keys = keys
    this.#doneForRootId = keys.newestRootId === 1 ? 1 : null
  }

  /** Null when nothing is known to be left. */
  get progress(): RewrapProgress | null {
    if (this.#doneForRootId === null || !this.isDue) return null
    return this.#progress ?? { doneCount: 0, totalCount: 0 }
  }

  /** Whether records may be sealed under an older root key. */
  get isDue(): boolean {
    return (this.#doneForRootId ?? 0) < this.#keys.newestRootId
  }

  /** @throws StorError 'unavailable': the next walk goes on */
  async run({
    signal,
    onProgress = () => undefined,
  }: {
    signal?: AbortSignal
    onProgress?: (progress: RewrapProgress) => void
  } = {}): Promise<number> {
    const options = { signal }
    this.#doneForRootId ??= await this.#lookUp(options)
    if (!this.isDue) return 0
    const rootId = this.#keys.newestRootId
    const keys = await this.#meta.list(options)
    let rewrappedCount = 0
    for (const [doneCount, key] of keys.entries()) {
      this.#progress = { doneCount, totalCount: keys.length }
      onProgress(this.#progress)
      if (await this.#rewrap(key, rootId, options)) rewrappedCount++
    }
    await this.#meta.put(DONE_KEY, () => encodeDone(rootId), options)
    this.#doneForRootId = rootId
    this.#progress = null
    return rewrappedCount
  }

  async #lookUp(options: { readonly signal?: AbortSignal }): Promise<number> {
    const stored = await this.#meta.get(DONE_KEY, options)
    if (stored === null) return 1
    if (stored.bytes.length !== 4)
      throw new StorError('damaged', 'the record of the last deep rotation has another length')
    return stored.bytes.readUInt32LE()
  }

  async #rewrap(key: Buffer, rootId: number, options: { readonly signal?: AbortSignal }): Promise<boolean> {
    const committed = await this.#meta.put(
      key,
      ({ previous, previousRootId, generation, memberSet }) => {
        if (previous === null) return null
        if (objectIdOfKey(key) === null) return previousRootId === rootId ? null : previous
        const record = decodeRecord(previous)
        const wrappedKey = this.#keys.rewrapObjectKey(record.wrappedKey, record.objectId)
        if (wrappedKey === null && previousRootId === rootId) return null
        return encodeRecord({ ...record, wrappedKey: wrappedKey ?? record.wrappedKey, generation, memberSet })
      },
      options,
    )
    return committed !== null
  }
}

function encodeDone(rootId: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(rootId)
  return bytes
}
