import { FuseError } from '@qsfs/fuse/errno'
import { type BlockId, type Store, setThenSync } from './store.ts'

/** A store in two Maps: it keeps its promises as long as its process lives. For tests, and to try the tree by itself. */
export class MemoryStore implements Store {
  #blocks = new Map<BlockId, Buffer>()
  #records = new Map<string, Buffer>()
  #nextBlockId = 0
  #answered = 0
  #synced = 0

  get nextBlockId(): BlockId {
    return this.#nextBlockId
  }

  get answered(): number {
    return this.#answered
  }

  get synced(): number {
    return this.#synced
  }

  get unsyncedBytes(): number {
    return 0
  }

  /** What another process would find here now. */
  copy(): MemoryStore {
    const copy = new MemoryStore()
    copy.#blocks = new Map(this.#blocks)
    copy.#records = new Map(this.#records)
    copy.#nextBlockId = this.#nextBlockId
    return copy
  }

  /** Blocks that exist now. */
  get blockCount(): number {
    return this.#blocks.size
  }

  async putBlock(bytes: Buffer): Promise<BlockId> {
    this.#answered++
    // After a sync the caller may use its memory again.
    this.#blocks.set(this.#nextBlockId, Buffer.from(bytes))
    return this.#nextBlockId++
  }

  async getBlock(id: BlockId, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const block = this.#blocks.get(id)
    if (block === undefined || offsetBytes + lengthBytes > block.length) {
      throw new FuseError('EIO', `block ${id} has no ${lengthBytes} bytes at ${offsetBytes}`)
    }
    return block.subarray(offsetBytes, offsetBytes + lengthBytes)
  }

  async deleteBlocks(ids: readonly BlockId[]): Promise<void> {
    this.#answered += ids.length
    for (const id of ids) this.#blocks.delete(id)
  }

  async setRecord(key: string, value: Buffer): Promise<void> {
    this.#answered++
    this.#records.set(key, value)
  }

  async getRecord(key: string): Promise<Buffer | null> {
    return this.#records.get(key) ?? null
  }

  async deleteRecord(key: string): Promise<void> {
    this.#answered++
    this.#records.delete(key)
  }

  async sync(): Promise<void> {
    this.#synced = this.#answered
  }

  setRecordAndSync(key: string, value: Buffer) {
    return setThenSync(this, key, value)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
