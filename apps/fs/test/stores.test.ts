import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'
import { BulkClient } from '@qsfs/resp/bulk-client'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { type Connect, createNamespaces } from '../src/store/cachedb-session.ts'
import { CachedbStore } from '../src/store/cachedb-store.ts'
import { ForeignStore } from '../src/store/foreign-store.ts'
import { MemoryStore } from '../src/store/memory-store.ts'
import { storeSuite } from './store-suite.ts'
import { ToyCachedb } from './toy-cachedb.ts'

const names = { data: 'data', meta: 'meta' }
const program = join(import.meta.dirname, '../../cachedb/src/main.ts')

storeSuite('memory', async () => new MemoryStore())

const toy = new ToyCachedb(prngFromSeed(1))
storeSuite('cachedb in the process', () => CachedbStore.open(toy.connect, names, systemClock, randomBytes, silentLog))

/** A cachedb of its own, that can be killed and started again on what it left. */
class CachedbProcess implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack()
  #directory = ''
  #process: SpawnedProcess | null = null

  async start(): Promise<void> {
    if (this.#directory === '') this.#directory = this.#stack.use(await temporaryDirectory()).path
    const config = join(this.#directory, 'qsfs.toml')
    const lines = ['[cachedb]', `data_dir = "${this.#directory}/data"`, `socket = "${this.#directory}/s"`]
    await writeFile(config, `${lines.join('\n')}\n`)
    this.#process = this.#stack.use(spawnProcess(process.execPath, [program, '--config', config]))
    await this.#process.waitForLine(/server\.ready/)
  }

  async kill9(): Promise<void> {
    await this.#process?.kill9()
  }

  readonly #pool = new BulkPool()
  readonly connect: Connect = options =>
    BulkClient.connect({ address: `unix:${this.#directory}/s`, ...options }, this.#pool)

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

const cachedb = new CachedbProcess()
after(() => cachedb[Symbol.asyncDispose]())
let started: Promise<void> | null = null

async function connected(): Promise<Connect> {
  started ??= cachedb.start().then(() => createNamespaces(cachedb.connect, names))
  await started
  return cachedb.connect
}

async function openOwned(): Promise<CachedbStore> {
  return CachedbStore.open(await connected(), names, systemClock, randomBytes, silentLog)
}

storeSuite('cachedb', openOwned)
storeSuite('foreign', async () => ForeignStore.open(await connected(), names, systemClock))

test('cachedb: a store outlives kill -9 of its server in the middle of writes', async () => {
  await using store = await openOwned()
  const blocks = Array.from({ length: 2000 }, (_, i) => Buffer.from(`block ${i}`.padEnd(4096, '.')))
  const puts = blocks.map(bytes => store.putBlock(bytes))
  const records = Array.from({ length: 200 }, (_, i) => store.setRecord(`r${i}`, Buffer.from(`record ${i}`)))
  await Promise.race(puts)
  await cachedb.kill9()
  await cachedb.start()
  const ids = await Promise.all(puts)
  await Promise.all(records)
  await store.sync()
  assert.equal(new Set(ids).size, blocks.length)
  for (const [i, id] of ids.entries()) assert.deepEqual(await store.getBlock(id, 0, 4096), blocks[i])
  for (let i = 0; i < 200; i++) assert.equal(String(await store.getRecord(`r${i}`)), `record ${i}`)
})

test('cachedb: a newer owner makes the older one fail, buffered commands included', async () => {
  await using older = await openOwned()
  await older.setRecord('r', Buffer.from('of the older'))
  await using newer = await openOwned()
  await newer.setRecord('r', Buffer.from('of the newer'))
  await assert.rejects(older.setRecord('r', Buffer.from('of the older')), isErofs)
  await assert.rejects(older.putBlock(Buffer.from('of the older')), isErofs)
  assert.equal(String(await newer.getRecord('r')), 'of the newer')
})

test('what is answered during a background sync is synced too when nothing comes after it', async () => {
  const server = new ToyCachedb(prngFromSeed(1))
  const clock = new ManualClock()
  const held = Promise.withResolvers<void>()
  let syncs = 0
  const connect: Connect = async options => {
    const connection = await server.connect(options)
    const call = connection.call.bind(connection)
    connection.call = async (...args) => {
      if (args[0] === 'FSYNC' && syncs++ === 0) await held.promise
      return call(...args)
    }
    return connection
  }
  await using store = await CachedbStore.open(connect, names, clock, randomBytes, silentLog)
  await store.putBlock(Buffer.from('before'))
  await clock.advance(2000)
  assert.equal(syncs, 1)
  await store.putBlock(Buffer.from('during'))
  await clock.advance(2000)
  held.resolve()
  for (let turns = 0; store.synced < store.answered && turns < 1000; turns++) await clock.advance(1000)
  assert.equal(store.synced, store.answered)
})

function isErofs(error: unknown): boolean {
  return error instanceof FuseError && error.code === 'EROFS'
}
