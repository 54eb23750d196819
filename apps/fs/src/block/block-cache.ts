import { crc32c } from '@qsfs/bytes/checksum'
import { FuseError } from '@qsfs/fuse/errno'
import type { BlockId, Store } from '../store/store.ts'
import type { Extent } from './extents.ts'

type BlockSource = Pick<Store, 'getBlock' | 'giveBack'>

/** Whole values by id, least recently used out first, at most `bytesMax`. Every value that comes from the store is checked.
 *  The memory of a value goes back to the store once it left the cache and nobody retains it: not before the next turn of the
 *  event loop, so what was got and is sent within this turn needs no retaining. */
export class BlockCache {
  readonly #store: BlockSource
  readonly #bytesMax: number
  readonly #values = new Map<BlockId, Buffer>()
  readonly #loading = new Map<BlockId, Promise<Buffer>>()
  /** Per value: being in the cache counts one, each `retain` another. */
  readonly #uses = new Map<Buffer, number>()
  readonly #unused = new Set<Buffer>()
  #sizeBytes = 0

  constructor(store: BlockSource, limits: { bytesMax: number }) {
    this.#store = store
    this.#bytesMax = limits.bytesMax
  }

  get sizeBytes(): number {
    return this.#sizeBytes
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
        this.#keep(id, bytes)
        return bytes
      })
      .finally(() => this.#loading.delete(id))
    this.#loading.set(id, loading)
    return loading
  }

  /** Keeps a copy of the value. */
  put(id: BlockId, bytes: Buffer): void {
    const copy = Buffer.allocUnsafeSlow(bytes.length)
    bytes.copy(copy)
    this.#keep(id, copy)
  }

  drop(ids: readonly BlockId[]): void {
    for (const id of ids) {
      const value = this.#values.get(id)
      if (value !== undefined) this.#remove(id, value)
    }
  }

  /** From now on the value's memory stays as it is, until it is released as often as it was retained. */
  retain(value: Buffer): void {
    this.#uses.set(value, (this.#uses.get(value) ?? 0) + 1)
  }

  release(value: Buffer): void {
    const uses = this.#uses.get(value)! - 1
    if (uses > 0) {
      this.#uses.set(value, uses)
      return
    }
    this.#uses.delete(value)
    if (this.#unused.size === 0) setImmediate(() => this.#giveBack())
    this.#unused.add(value)
  }

  #keep(id: BlockId, value: Buffer): void {
    // The same bytes under the same number: both are as good.
    const older = this.#values.get(id)
    if (older !== undefined) this.#remove(id, older)
    this.retain(value)
    this.#values.set(id, value)
    this.#sizeBytes += memoryBytes(value)
    for (const [oldest, oldestValue] of this.#values) {
      if (this.#sizeBytes <= this.#bytesMax) break
      this.#remove(oldest, oldestValue)
    }
  }

  #remove(id: BlockId, value: Buffer): void {
    this.#values.delete(id)
    this.#sizeBytes -= memoryBytes(value)
    this.release(value)
  }

  #giveBack(): void {
    for (const value of this.#unused) if (!this.#uses.has(value)) this.#store.giveBack?.(value)
    this.#unused.clear()
  }
}

function memoryBytes(value: Buffer): number {
  return value.buffer.byteLength
}
