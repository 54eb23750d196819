import { FuseError } from '@qsfs/fuse/errno'
import type { Prng } from '@qsfs/testkit/prng'
import { type BlockId, type Store, setThenSync } from '../src/store/store.ts'

interface Entry<K> {
  readonly key: K
  /** null: deleted. */
  readonly value: Buffer | null
}

/** The power failed: nothing after this reached the disk. */
export class PowerCut extends Error {}

/** Two append-only namespaces whose disk keeps, when the power fails, any prefix of each that holds what was synced. */
export class SimulatedDisk {
  blocks: Entry<BlockId>[] = []
  records: Entry<string>[] = []
  syncedBlocks = 0
  syncedRecords = 0
  /** Appends and syncs that still happen before the power fails. */
  stepsLeft = Number.POSITIVE_INFINITY

  /** Counts crashes: a process of an earlier life touches nothing any more. */
  life = 0

  step(life: number): void {
    if (life !== this.life || --this.stepsLeft < 0) throw new PowerCut('the power failed')
  }

  /** A crash: of the process alone (the page cache stays) or of the machine. */
  crash(prng: Prng): void {
    this.life++
    this.stepsLeft = Number.POSITIVE_INFINITY
    if (prng.chance(0.5)) return
    this.blocks.length = this.syncedBlocks + prng.below(this.blocks.length - this.syncedBlocks + 1)
    this.records.length = this.syncedRecords + prng.below(this.records.length - this.syncedRecords + 1)
    this.syncedBlocks = this.blocks.length
    this.syncedRecords = this.records.length
  }

  get nextBlockId(): BlockId {
    return this.blocks.reduce((next, { key, value }) => (value === null ? next : Math.max(next, key + 1)), 0)
  }

  liveBlocks(): Map<BlockId, Buffer> {
    return live(this.blocks)
  }

  liveRecords(): Map<string, Buffer> {
    return live(this.records)
  }
}

function live<K>(entries: readonly Entry<K>[]): Map<K, Buffer> {
  const values = new Map<K, Buffer>()
  for (const { key, value } of entries) {
    if (value === null) values.delete(key)
    else values.set(key, value)
  }
  return values
}

/** A mount's view of a simulated disk. */
export class SimulatedStore implements Store {
  readonly disk: SimulatedDisk
  readonly #blocks: Map<BlockId, Buffer>
  readonly #records: Map<string, Buffer>
  readonly #life: number
  nextBlockId: BlockId
  answered = 0
  synced = 0
  unsyncedBytes = 0

  constructor(disk: SimulatedDisk) {
    this.disk = disk
    this.#life = disk.life
    this.#blocks = disk.liveBlocks()
    this.#records = disk.liveRecords()
    this.nextBlockId = disk.nextBlockId
  }

  async putBlock(bytes: Buffer): Promise<BlockId> {
    this.disk.step(this.#life)
    const id = this.nextBlockId++
    // After a sync the caller may use its memory again.
    const value = Buffer.copyBytesFrom(bytes)
    this.disk.blocks.push({ key: id, value })
    this.#blocks.set(id, value)
    this.answered++
    return id
  }

  async getBlock(id: BlockId, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const block = this.#blocks.get(id)
    if (block === undefined) throw new FuseError('EIO', `no block ${id}`)
    return block.subarray(offsetBytes, offsetBytes + lengthBytes)
  }

  async deleteBlocks(ids: readonly BlockId[]): Promise<void> {
    for (const id of ids) {
      this.disk.step(this.#life)
      if (this.#blocks.delete(id)) this.disk.blocks.push({ key: id, value: null })
      this.answered++
    }
  }

  async setRecord(key: string, value: Buffer): Promise<void> {
    this.disk.step(this.#life)
    this.disk.records.push({ key, value })
    this.#records.set(key, value)
    this.answered++
  }

  async getRecord(key: string): Promise<Buffer | null> {
    return this.#records.get(key) ?? null
  }

  async deleteRecord(key: string): Promise<void> {
    this.disk.step(this.#life)
    if (this.#records.delete(key)) this.disk.records.push({ key, value: null })
    this.answered++
  }

  async sync(): Promise<void> {
    this.disk.step(this.#life)
    this.disk.syncedBlocks = this.disk.blocks.length
    this.disk.syncedRecords = this.disk.records.length
    this.synced = this.answered
  }

  setRecordAndSync(key: string, value: Buffer) {
    return setThenSync(this, key, value)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
