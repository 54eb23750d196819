import assert from 'node:assert'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'
import { silentLog } from '@qsfs/telemetry/log'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { CachedbStore } from '../src/store/cachedb-store.ts'
import { impatientClock } from './impatient-clock.ts'
import { LogModel } from './log-model.ts'
import { ToyCachedb } from './toy-cachedb.ts'

const names = { data: 'data', meta: 'meta' }

test('60 random histories over connections that break and a server that crashes lose nothing', async t => {
  const seeds = seededPrng(t)
  let [dropCount, crashCount] = [0, 0]
  for (let i = 0; i < 60; i++) {
    const seed = seeds.below(2 ** 32)
    const prng = prngFromSeed(seed)
    const server = new ToyCachedb(prng)
    const finding = await runHistory(server, prng).catch(error => {
      throw new Error(`history with seed ${seed}`, { cause: error })
    })
    assert.equal(finding, null, `history with seed ${seed}: ${finding}`)
    dropCount += server.dropCount
    crashCount += server.crashCount
  }
  t.diagnostic(`${dropCount} connections lost, ${crashCount} crashes of the server`)
})

function openStore(server: ToyCachedb, prng: Prng): Promise<CachedbStore> {
  return CachedbStore.open(server.connect, names, impatientClock, bytes => prng.bytes(bytes), silentLog)
}

async function runHistory(server: ToyCachedb, prng: Prng): Promise<string | null> {
  let store: CachedbStore
  const model = new LogModel(
    {
      async open() {
        server.faults = { drop: 0, crash: 0, full: 0 }
        store = await openStore(server, prng)
        server.faults = { drop: 0.01, crash: prng.pick([0, 0.002, 0.01]), full: prng.pick([0, 0.05]) }
        return store
      },
      async crash() {
        // The process is gone; what it sent may still be found in the server's buffers.
        server.faults = { drop: 0, crash: 0, full: 0 }
        server.dropAll()
        await store[Symbol.asyncDispose]()
        if (prng.chance(0.5)) server.crash()
      },
      isCrash: error => error instanceof FuseError && error.message.includes('the store is closed'),
      liveBlocks: () => [...server.data.live.keys()].map(key => Number(Buffer.from(key, 'latin1').readBigUInt64LE())),
    },
    prng,
  )
  return model.run(100)
}

test('of inserts whose replies were lost, those that were executed are found by their bytes', async t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 50; round++) {
    const server = new ToyCachedb(prng)
    await using store = await openStore(server, prng)
    server.faults = { drop: 0.05, crash: 0, full: 0.2 }
    const blocks = Array.from({ length: 40 }, (_, i) => Buffer.from(`block ${i % 7} of round ${round}`))
    const ids = await Promise.all(blocks.map(bytes => store.putBlock(bytes)))
    assert.equal(new Set(ids).size, ids.length)
    for (const [i, id] of ids.entries()) assert.deepEqual(await store.getBlock(id, 0, blocks[i]!.length), blocks[i])
    assert.equal(server.data.nextId, ids.length, 'a block was inserted twice')
  }
})

test('blocks acknowledged and not synced come back under their ids when the server loses them', async t => {
  const prng = seededPrng(t)
  const server = new ToyCachedb(prng)
  await using store = await openStore(server, prng)
  const first = await store.putBlock(Buffer.from('synced'))
  await store.sync()
  const others = await Promise.all(['one', 'two', 'three'].map(text => store.putBlock(Buffer.from(text))))
  await store.setRecord('r', Buffer.from('record'))
  server.data.cut(1)
  server.meta.cut(0)
  server.crash(false)
  await store.sync()
  assert.deepEqual([first, ...others], [0, 1, 2, 3])
  assert.equal(server.data.synced, 4)
  assert.equal(String(await store.getBlock(2, 0, 3)), 'two')
  assert.equal(String(await store.getRecord('r')), 'record')
})

test('a server that lost what it had synced ends the store', async t => {
  const prng = seededPrng(t)
  const server = new ToyCachedb(prng)
  await using store = await openStore(server, prng)
  await store.putBlock(Buffer.from('synced'))
  await store.sync()
  server.data.cut(0)
  server.crash(false)
  await assert.rejects(store.putBlock(Buffer.from('next')), isErrno('EROFS'))
})

test('what an earlier process left unsynced may go before the first sync, not after', async t => {
  const prng = seededPrng(t)
  const server = new ToyCachedb(prng)
  await (await openStore(server, prng)).putBlock(Buffer.from('left behind'))
  await using store = await openStore(server, prng)
  assert.equal(store.nextBlockId, 1)
  server.data.cut(0)
  server.crash(false)
  await store.sync()
  assert.equal(store.nextBlockId, 0)
})

test('a newer owner ends the older one, also after a restart of the server', async t => {
  const prng = seededPrng(t)
  const server = new ToyCachedb(prng)
  await using older = await openStore(server, prng)
  await older.setRecord('c', Buffer.from('session 1'))
  await using newer = await openStore(server, prng)
  await newer.setRecord('c', Buffer.from('session 2'))
  server.crash(false)
  await newer.setRecord('r', Buffer.from('of the newer'))
  await assert.rejects(older.setRecord('r', Buffer.from('of the older')), isErrno('EROFS'))
  await assert.rejects(older.sync(), isErrno('EROFS'))
  assert.equal(String(server.meta.live.get('r')), 'of the newer')
})

test('a cold block waits for its segment on a connection of its own, and nobody else waits', async t => {
  const server = new ToyCachedb(seededPrng(t))
  await using store = await openStore(server, prngFromSeed(2))
  const [cold, local] = [await store.putBlock(Buffer.from('cold')), await store.putBlock(Buffer.from('local'))]
  const warming = Promise.withResolvers<void>()
  server.warming = warming.promise
  server.cold = Buffer.alloc(8).fill(cold, 0, 1).toString('latin1')
  const readers = [store.getBlock(cold, 0, 4), store.getBlock(cold, 1, 3)]
  const leaving = new AbortController()
  const left = store.getBlock(cold, 0, 4, { signal: leaving.signal })
  assert.equal(String(await store.getBlock(local, 0, 5)), 'local')
  leaving.abort(new FuseError('EINTR'))
  await assert.rejects(left, isErrno('EINTR'))
  warming.resolve()
  assert.deepEqual((await Promise.all(readers)).map(String), ['cold', 'old'])
})

test('a server that says FULL space is ENOSPC at once', async t => {
  const server = new ToyCachedb(seededPrng(t))
  await using store = await openStore(server, prngFromSeed(3))
  server.refusal = 'FULL space'
  await assert.rejects(store.putBlock(Buffer.from('too much')), isErrno('ENOSPC'))
  await assert.rejects(store.setRecord('r', Buffer.from('too much')), isErrno('ENOSPC'))
  server.refusal = 'IOERR the disk failed'
  await assert.rejects(store.setRecord('r', Buffer.from('too much')), isErrno('EIO'))
  server.refusal = 'READONLY a sync failed'
  await assert.rejects(store.setRecord('r', Buffer.from('too much')), isErrno('EROFS'))
  server.refusal = null
  assert.equal(await store.putBlock(Buffer.from('fits')), 0)
})

test('a full server that has to be told again what it lost keeps nobody waiting for ever', async t => {
  const server = new ToyCachedb(seededPrng(t))
  await using store = await storeOfFullServer(server, { readWaitMs: 600 })
  await assert.rejects(store.setRecord('r', Buffer.from('x')), isErrno('ENOSPC'))
  await assert.rejects(store.getRecord('r'), isErrno('EIO'))
  // And ends when it is closed: nothing of it is left waiting.
})

test('it heals when there is room again', async t => {
  const server = new ToyCachedb(seededPrng(t))
  await using store = await storeOfFullServer(server, { readWaitMs: 60_000 })
  await assert.rejects(store.setRecord('r', Buffer.from('x')), isErrno('ENOSPC'))
  server.refusal = null
  assert.equal(String(await store.getBlock(0, 0, 10)), 'not synced')
})

/** The server has crashed, lost block 0, and has no room to be told it again. */
async function storeOfFullServer(server: ToyCachedb, { readWaitMs }: { readWaitMs: number }): Promise<CachedbStore> {
  const prng = prngFromSeed(4)
  const waits = { writeWaitMs: 600, readWaitMs }
  const random = (bytes: number) => prng.bytes(bytes)
  const store = await CachedbStore.open(server.connect, names, systemClock, random, silentLog, waits)
  await store.putBlock(Buffer.from('not synced'))
  server.data.cut(0)
  server.refusal = 'FULL space'
  server.crash(false)
  return store
}

function isErrno(code: string): (error: unknown) => boolean {
  return error => error instanceof FuseError && error.code === code
}
