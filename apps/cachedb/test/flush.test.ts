import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { NamespaceReadOnly } from '../src/errors.ts'
import { StorageError } from '../src/segment/storage.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { until } from './hook-script.ts'
import { SimulatedStorage } from './simulated-storage.ts'

// FLUSH may meet every activity of the segments it drops.

const objectId = '00112233445566778899aabbccddeeff'
const value = Buffer.from('value')

function newDisk(): SimulatedStorage {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  return storage
}

async function assertOpensAgain(storage: SimulatedStorage): Promise<void> {
  await using after = await openNamespace(engineContext(storage.kill(), prngFromSeed(2)), 'user')
  assert.deepEqual([...(await contentsOf(after)).values()], [digest(value)])
}

test('FLUSH while a store hook runs: its object is deleted, and the namespace opens again', async () => {
  const storage = newDisk()
  const store = Promise.withResolvers<string>()
  const deleted: string[] = []
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: () => store.promise,
    segmentDeleted: async ({ objectId }) => void deleted.push(objectId),
  }
  const context = engineContext(storage, prngFromSeed(1), { hooks, clock: systemClock })
  await using namespace = await openNamespace(context, 'user')
  namespace.put(Buffer.from('old'), value)
  namespace.jump()
  await until(() => namespace.segments()[0]!.note === 'storing')
  await namespace.flush()
  store.resolve(objectId)
  await until(() => deleted.length === 1)
  namespace.put(Buffer.from('new'), value)
  await namespace.sync()
  await assertOpensAgain(storage)
})

test('FLUSH while a segment is synced, or salvaged after its sync failed', async () => {
  for (const when of ['sync-begun /data/ns/d0', 'sync-begun /data/ns/d1']) {
    const storage = newDisk()
    const context = engineContext(storage, prngFromSeed(1))
    await using namespace = await openNamespace(context, 'user')
    storage.failsSync = path => path === '/data/ns/d0'
    let flushed: Promise<void> | null = null
    storage.onOperation = operation => {
      if (operation === when) queueMicrotask(() => (flushed ??= namespace.flush()))
    }
    namespace.put(Buffer.from('old'), value)
    namespace.put(Buffer.from('gone'), value)
    namespace.delete(Buffer.from('gone'))
    await namespace.sync()
    assert(flushed !== null)
    await flushed
    namespace.put(Buffer.from('new'), value)
    await namespace.sync()
    await assertOpensAgain(storage)
  }
})

test('FLUSH while a restored file is taken in: the reader hears of it, the server goes on', async () => {
  const storage = newDisk()
  let bytes: Buffer = Buffer.alloc(0)
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async ({ dataPath }) => {
      bytes = storage.bytesOf(dataPath)
      return objectId
    },
    segmentMissing: async ({ dataPath }) => storage.put(dataPath, bytes),
  }
  const context = engineContext(storage, prngFromSeed(1), { hooks, clock: systemClock })
  {
    await using namespace = await openNamespace(context, 'user')
    namespace.put(Buffer.from('old'), value)
    namespace.jump()
    await until(() => namespace.segments()[0]!.state === 'stored')
  }
  storage.remove('/data/ns/d0')
  await using namespace = await openNamespace(context, 'user')
  assert.equal(namespace.segments()[0]!.state, 'absent')
  let flushed: Promise<void> | null = null
  storage.onOperation = operation => {
    if (operation === 'sync-begun /data/ns/d0') flushed ??= namespace.flush()
  }
  await assert.rejects(async () => namespace.get(Buffer.from('old'), { cold: 'wait' }), /^SegmentUnavailable/)
  await flushed
  namespace.put(Buffer.from('new'), value)
  await namespace.sync()
  await assertOpensAgain(storage)
})

test('FLUSH that finds no room drops nothing; a read-only namespace refuses it, and NSJUMP', async () => {
  const storage = newDisk()
  const context = engineContext(storage, prngFromSeed(1))
  const namespace = await openNamespace(context, 'user')
  namespace.put(Buffer.from('kept'), value)
  await namespace.sync()
  storage.capacityBytes = 0
  await assert.rejects(namespace.flush(), StorageError)
  assert.equal(String(await namespace.get(Buffer.from('kept'), { cold: 'wait' })), 'value')
  storage.capacityBytes = Number.POSITIVE_INFINITY

  storage.failsSync = path => /\/d\d+$/.test(path)
  namespace.put(Buffer.from('unsynced'), value)
  await assert.rejects(namespace.sync(), NamespaceReadOnly)
  await assert.rejects(namespace.flush(), NamespaceReadOnly)
  assert.throws(() => namespace.jump(), NamespaceReadOnly)
  assert.equal(String(await namespace.get(Buffer.from('kept'), { cold: 'wait' })), 'value')
  await namespace[Symbol.asyncDispose]()
})

test('a mode that cannot be recorded is not changed', async () => {
  const storage = newDisk()
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
  storage.capacityBytes = 0
  await assert.rejects(namespace.update({ ...namespace.settings, mode: 'sequential' }), StorageError)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  assert.equal(String(namespace.put(Buffer.from('key'), value)), 'key')
  assert.equal(String(await namespace.get(Buffer.from('key'), { cold: 'wait' })), 'value')
})
