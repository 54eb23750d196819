import { crc32c } from '@qsfs/bytes/checksum'
import { FuseError } from '@qsfs/fuse/errno'
import type { BlockId, Store } from '../store/store.ts'
import type { Extent } from './extents.ts'

/** Whole values by id, least recently used out first, at most `bytesMax`. Every value that comes from the store is checked. */
export class BlockCache {
  readonly #store: Pick<Store, 'getBlock'>
  readonly #bytesMax: number
  readonly #values = new Map<BlockId, Buffer>()
  readonly #loading = new Map<BlockId, Promise<Buffer>>()
  #sizeBytes = 0

  constructor(store: Pick<Store, 'getBlock'>, limits: { bytesMax: number }) {
    this.#store = store
    this.#bytesMax = limits.bytesMax
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Values on their way from the store. */
  get loads(): number {
    return this.#loading.size
  }

  get(id: BlockId): Buffer | undefined {
    const value = this.#values.get(id)
    if (value === undefined) return undefined
    this.#values.delete(id)
    this.#values.set(id, value)
    return value
  }

  /** In memory, or on its way. */
  has(id: BlockId): boolean {
    return this.#values.has(id) || this.#loading.has(id)
  }

  /** The value from the store; many readers share one look. Not to be called for what `get` has. */
  load({ id, valueBytes, crc }: Extent): Promise<Buffer> {
    const running = this.#loading.get(id)
    if (running !== undefined) return running
    const loading = this.#store
      .getBlock(id, 0, valueBytes)
      .then(bytes => {
        if (crc32c(bytes) !== crc) throw new FuseError('EIO', `block ${id} is not what was written`)
        return this.put(id, bytes)
      })
      .finally(() => this.#loading.delete(id))
    this.#loading.set(id, loading)
    return loading
  }

  /** Keeps a value; a view of something bigger is copied, so that it alone is kept. */
  put(id: BlockId, bytes: Buffer): Buffer {
    const own = bytes.buffer.byteLength > bytes.length + 4096 ? copyOf(bytes) : bytes
    if (this.#values.has(id)) return own
    this.#values.set(id, own)
    this.#sizeBytes += own.length
    for (const [oldest, value] of this.#values) {
      if (this.#sizeBytes <= this.#bytesMax) break
      this.#values.delete(oldest)
      this.#sizeBytes -= value.length
    }
    return own
  }

  drop(ids: readonly BlockId[]): void {
    for (const id of ids) {
      const value = this.#values.get(id)
      if (value === undefined) continue
      this.#values.delete(id)
      this.#sizeBytes -= value.length
    }
  }
}

function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(copy)
  return copy
}
