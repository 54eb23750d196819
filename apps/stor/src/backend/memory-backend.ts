import { StorError } from '../errors.ts'
import type { Backend, BackendOptions, BackendStat, PieceId, RecordBackend } from './backend.ts'

/** Pieces in a Map, for tests and as the plainest reading of the contract. A sync promises nothing beyond the process. */
export class MemoryBackend implements Backend {
  readonly name: string
  readonly #values = new Map<PieceId, Buffer>()
  readonly #capacityBytes: number | null
  #nextId = 0
  #usedBytes = 0

  constructor(name: string, { capacityBytes = null }: { capacityBytes?: number | null } = {}) {
    this.name = name
    this.#capacityBytes = capacityBytes
  }

  async put(bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<PieceId> {
    signal?.throwIfAborted()
    if (this.#capacityBytes !== null && this.#usedBytes + bytes.length > this.#capacityBytes) {
      throw new StorError('full', `${this.name} has no room for ${bytes.length} bytes`)
    }
    const id = this.#nextId++
    this.#values.set(id, Buffer.from(bytes))
    this.#usedBytes += bytes.length
    return id
  }

  async get(id: PieceId, { signal }: BackendOptions = {}): Promise<Buffer> {
    signal?.throwIfAborted()
    const value = this.#values.get(id)
    if (value === undefined) throw new StorError('missing', `${this.name} has no value ${id}`)
    return Buffer.from(value)
  }

  async remove(ids: readonly PieceId[], { signal }: BackendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    for (const id of ids) {
      this.#usedBytes -= this.#values.get(id)?.length ?? 0
      this.#values.delete(id)
    }
  }

  async *list({ signal }: BackendOptions = {}): AsyncIterable<readonly PieceId[]> {
    signal?.throwIfAborted()
    // Ids only grow and a Map keeps its insertion order, so they are ascending.
    yield [...this.#values.keys()]
  }

  async stat(): Promise<BackendStat> {
    return {
      valueCount: this.#values.size,
      usedBytes: this.#usedBytes,
      freeBytes: this.#capacityBytes === null ? null : this.#capacityBytes - this.#usedBytes,
      durability: 'memory',
    }
  }

  async sync({ signal }: BackendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Records in a Map. */
export class MemoryRecordBackend implements RecordBackend {
  readonly name: string
  readonly #values = new Map<string, Buffer>()

  constructor(name: string) {
    this.name = name
  }

  async set(key: Uint8Array, bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    this.#values.set(Buffer.from(key).toString('hex'), Buffer.from(bytes))
  }

  async get(key: Uint8Array, { signal }: BackendOptions = {}): Promise<Buffer | null> {
    signal?.throwIfAborted()
    const value = this.#values.get(Buffer.from(key).toString('hex'))
    return value === undefined ? null : Buffer.from(value)
  }

  async remove(key: Uint8Array, { signal }: BackendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    this.#values.delete(Buffer.from(key).toString('hex'))
  }

  async *list({ signal }: BackendOptions = {}): AsyncIterable<readonly Buffer[]> {
    signal?.throwIfAborted()
    yield [...this.#values.keys()].map(hex => Buffer.from(hex, 'hex'))
  }

  async stat(): Promise<BackendStat> {
    const usedBytes = this.#values.values().reduce((sum, value) => sum + value.length, 0)
    return { valueCount: this.#values.size, usedBytes, freeBytes: null, durability: 'memory' }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
