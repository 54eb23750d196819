import { type Clock, delay } from '@qsfs/concurrency/clock'
import { Semaphore } from '@qsfs/concurrency/semaphore'
import { FuseError } from '@qsfs/fuse/errno'
import { ErrorText, WireLimit } from '@qsfs/protocol/cachedb-commands'
import { ConnectionLost, type Reply } from '@qsfs/resp/client'
import { blockIdOf, blockKey } from './block-key.ts'
import type { Connect, Connection, NamespaceNames } from './cachedb-session.ts'
import { before } from './deadline.ts'
import { deleteKey } from './recovery/cachedb-recovery.ts'
import { hasText, toFuseError } from './resp-errors.ts'
import { type BlockId, type CallOptions, type Store, setThenSync } from './store.ts'

export interface ForeignStoreOptions {
  /** So long one command may take, and a locked namespace is asked again. */
  readonly waitMs: number
}

const commandsInFlight = 64
const lockedPauseMs = 100

/** The store over a server that speaks 0-db's protocol and knows neither OWNER nor FSYNC. It promises less (README):
 *  one connection per namespace, nothing is ever repeated, read-only from a lost reply until the next mount, and `sync`
 *  only means that everything was answered. */
export class ForeignStore implements Store {
  readonly #data: Connection
  readonly #meta: Connection
  readonly #clock: Clock
  readonly #options: ForeignStoreOptions
  readonly #stack: AsyncDisposableStack
  readonly #window = new Semaphore(commandsInFlight)
  #nextBlockId: BlockId
  #answered = 0
  #synced = 0
  /** A reply was lost: what the server holds is no longer known. */
  #lost: FuseError | null = null

  private constructor(
    [data, meta]: readonly [Connection, Connection],
    clock: Clock,
    options: ForeignStoreOptions,
    nextBlockId: BlockId,
    stack: AsyncDisposableStack,
  ) {
    this.#data = data
    this.#meta = meta
    this.#clock = clock
    this.#options = options
    this.#nextBlockId = nextBlockId
    this.#stack = stack
  }

  /** @throws ConnectionLost, RespError; FuseError EIO when the server does not tell its next id */
  static async open(
    connect: Connect,
    names: NamespaceNames,
    clock: Clock,
    options: ForeignStoreOptions = { waitMs: 30_000 },
  ): Promise<ForeignStore> {
    await using opening = new AsyncDisposableStack()
    const data = opening.use(await connect({ namespace: names.data }))
    const meta = opening.use(await connect({ namespace: names.meta }))
    const nextBlockId = nextIdOf(String(await data.call('NSINFO', names.data)))
    return new ForeignStore([data, meta], clock, options, nextBlockId, opening.move())
  }

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

  async putBlock(bytes: Buffer, { signal }: CallOptions = {}): Promise<BlockId> {
    if (bytes.length > WireLimit.bulkBytesMax) throw new RangeError('a block has at most 8 MiB')
    const id = blockIdOf(await this.#write('a block cannot be stored', () => this.#data.call('SET', '', bytes), signal))
    this.#nextBlockId = Math.max(this.#nextBlockId, id + 1)
    return id
  }

  async getBlock(id: BlockId, offsetBytes: number, lengthBytes: number, options: CallOptions = {}): Promise<Buffer> {
    const reply = await this.#read(`block ${id} cannot be read`, () => this.#data.call('GET', blockKey(id)), options)
    if (!Buffer.isBuffer(reply)) throw new FuseError('EIO', `there is no block ${id}`)
    if (reply.length < offsetBytes + lengthBytes) {
      throw new FuseError('EIO', `block ${id} has ${reply.length} bytes, not ${lengthBytes} at ${offsetBytes}`)
    }
    return Buffer.from(Uint8Array.from(reply.subarray(offsetBytes, offsetBytes + lengthBytes)).buffer)
  }

  async deleteBlocks(ids: readonly BlockId[]): Promise<void> {
    const deletes = ids.map(id =>
      this.#write(`block ${id} cannot be deleted`, () => deleteKey(this.#data, blockKey(id))),
    )
    for (const result of await Promise.allSettled(deletes)) if (result.status === 'rejected') throw result.reason
  }

  async setRecord(key: string, value: Buffer): Promise<void> {
    await this.#write(`record ${key} cannot be stored`, () => this.#meta.call('SET', key, value))
  }

  async getRecord(key: string, options: CallOptions = {}): Promise<Buffer | null> {
    const reply = await this.#read(`record ${key} cannot be read`, () => this.#meta.call('GET', key), options)
    return Buffer.isBuffer(reply) ? Buffer.from(Uint8Array.from(reply).buffer) : null
  }

  async deleteRecord(key: string): Promise<void> {
    await this.#write(`record ${key} cannot be deleted`, () => deleteKey(this.#meta, key))
  }

  async sync(): Promise<void> {
    if (this.#lost !== null) throw this.#lost
    this.#synced = this.#answered
  }

  setRecordAndSync(key: string, value: Buffer) {
    return setThenSync(this, key, value)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  async #write<T>(noun: string, send: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#lost !== null) throw this.#lost
    using _room = await this.#window.acquire(1, { signal })
    try {
      const reply = await this.#whileLocked(send, signal)
      this.#answered++
      return reply
    } catch (error) {
      // A connection that went silent is as good as lost: the late reply would come to nobody.
      if (error instanceof ConnectionLost || error instanceof FuseError) {
        this.#lost ??= new FuseError('EROFS', 'a reply was lost: mount again', { cause: error })
      }
      throw toFuseError(error, noun)
    }
  }

  async #read(noun: string, send: () => Promise<Reply>, { signal }: CallOptions): Promise<Reply> {
    try {
      return await this.#whileLocked(send, signal)
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      throw toFuseError(error, noun)
    }
  }

  /** 0-db locks a namespace for moments, while it is being reloaded: nothing was executed then. */
  async #whileLocked<T>(send: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const deadlineMs = this.#clock.monotonicMs() + this.#options.waitMs
    for (;;) {
      try {
        return await before(this.#clock, deadlineMs, send())
      } catch (error) {
        if (!hasText(error, ErrorText.namespaceLocked) || this.#clock.monotonicMs() >= deadlineMs) throw error
        await delay(this.#clock, lockedPauseMs, { signal })
      }
    }
  }
}

/** 0-db prints the next id of a sequential namespace byte-swapped, without leading zeros: 20 is 0x1400000000000000. */
export function nextIdOf(info: string): BlockId {
  const digits = /^next_internal_id: 0x([0-9a-f]{1,16})$/m.exec(info)?.[1]
  if (digits === undefined || !info.includes('mode: sequential')) {
    throw new FuseError('EIO', 'the server does not tell the next id of a sequential namespace')
  }
  return Number(Buffer.from(digits.padStart(16, '0'), 'hex').readBigUInt64LE())
}
