import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { parsePositions, type Reply, RespError } from '@qsfs/resp/client'
import { blockIdOf, blockKey } from '../../store/block-key.ts'
import type { Connect, Connection, NamespaceNames } from '../../store/cachedb-session.ts'
import { hasText } from '../../store/resp-errors.ts'
import type { BlockId } from '../../store/store.ts'

/** The bytes of a block exist nowhere that answers now, or fail their check; the message is the store's. */
export class BlockUnreadable extends Error {
  override readonly name = 'BlockUnreadable'
}

export interface StoredBlock {
  readonly id: BlockId
  readonly sizeBytes: number
}

/** What a check sees of the store: it owns nothing and changes nothing, so somebody else may be writing meanwhile. */
export interface Onlooker {
  /** The id the next block gets. */
  nextBlockId(): Promise<BlockId>
  getRecord(key: string): Promise<Buffer | null>
  /** Keys of all records, by the page; one that is written meanwhile may come twice. */
  recordKeys(): AsyncIterable<readonly string[]>
  /** All blocks that exist, by the page. */
  blocks(): AsyncIterable<readonly StoredBlock[]>
  /** Its bytes, wherever they are, valid until the next await; null: there is no such block.
   *  @throws BlockUnreadable */
  getBlock(id: BlockId): Promise<Buffer | null>
}

/** Through a cachedb. */
export class CachedbOnlooker implements Onlooker, AsyncDisposable {
  readonly #records: Connection
  readonly #blocks: Connection
  readonly #names: NamespaceNames

  private constructor(records: Connection, blocks: Connection, names: NamespaceNames) {
    this.#records = records
    this.#blocks = blocks
    this.#names = names
  }

  /** @throws RespError when there is no such namespace, ConnectionLost */
  static async connect(connect: Connect, names: NamespaceNames): Promise<CachedbOnlooker> {
    await using opening = new AsyncDisposableStack()
    const records = opening.use(await connect({ namespace: names.meta }))
    const blocks = await connect({ namespace: names.data })
    opening.move()
    return new CachedbOnlooker(records, blocks, names)
  }

  async nextBlockId(): Promise<BlockId> {
    const [position] = parsePositions(await this.#blocks.call('FSYNC', this.#names.data))
    return position!.nextId
  }

  async getRecord(key: string): Promise<Buffer | null> {
    const reply = await this.#records.call('GET', key)
    return Buffer.isBuffer(reply) ? Buffer.copyBytesFrom(reply) : null
  }

  async *recordKeys(): AsyncGenerator<readonly string[]> {
    for await (const rows of pages(this.#records)) yield rows.map(([key]) => (key as Buffer).toString('latin1'))
  }

  async *blocks(): AsyncGenerator<readonly StoredBlock[]> {
    for await (const rows of pages(this.#blocks)) {
      yield rows.map(([key, sizeBytes]) => ({ id: blockIdOf(key!), sizeBytes: Number(sizeBytes) }))
    }
  }

  async getBlock(id: BlockId): Promise<Buffer | null> {
    try {
      const reply = await this.#blocks.call('GET', blockKey(id))
      return Buffer.isBuffer(reply) ? reply : null
    } catch (cause) {
      if (!(cause instanceof RespError && cause.message.startsWith(ErrorText.ioErrorPrefix))) throw cause
      throw new BlockUnreadable(cause.message, { cause })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#records[Symbol.asyncDispose]()
    await this.#blocks[Symbol.asyncDispose]()
  }
}

/** SCAN from the first entry on: rows of [key, length, timestamp]. */
async function* pages(connection: Connection): AsyncGenerator<readonly Reply[][]> {
  for (let cursor: Reply | undefined; ; ) {
    let page: Reply
    try {
      page = await (cursor === undefined ? connection.call('SCAN') : connection.call('SCAN', cursor as Buffer))
    } catch (error) {
      if (hasText(error, ErrorText.noMoreData)) return
      throw error
    }
    if (!Array.isArray(page) || !Array.isArray(page[1])) throw new TypeError('SCAN answers a cursor and entries')
    yield page[1] as Reply[][]
    cursor = Buffer.copyBytesFrom(page[0] as Buffer)
  }
}
