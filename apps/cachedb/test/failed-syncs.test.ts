import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { Namespaces } from '../src/engine/namespaces.ts'
import { NamespaceReadOnly } from '../src/errors.ts'
import { StorageError } from '../src/segment/storage.ts'
import { contentsOf, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

function newDisk(): SimulatedStorage {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  return storage
}

async function keysOf(storage: SimulatedStorage): Promise<readonly string[]> {
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(0)), 'user')
  return [...(await contentsOf(namespace)).keys()].map(hex => String(Buffer.from(hex, 'hex'))).sort()
}

for (const again of ['loaded again by the same process', 'after kill -9'] as const) {
  const next = (storage: SimulatedStorage) => (again === 'after kill -9' ? storage.kill() : storage)

  test(`a manifest whose sync failed: what is built on it counts on disk, ${again}`, async () => {
    const first = newDisk()
    const prng = prngFromSeed(1)
    const namespace = await openNamespace(engineContext(first, prng), 'user')
    namespace.put(Buffer.from('a'), Buffer.from('value'))
    await namespace.sync()
    namespace.jump()
    namespace.put(Buffer.from('b'), Buffer.from('value'))
    first.failsSync = path => path.includes('manifest')
    await assert.rejects(namespace.sync(), NamespaceReadOnly)
    await namespace[Symbol.asyncDispose]()
    first.failsSync = () => false
    const storage = next(first)
    const after = await openNamespace(engineContext(storage, prng), 'user')
    after.put(Buffer.from('c'), Buffer.from('value'))
    await after.sync()
    for (let n = 0; n < 20; n++) assert.deepEqual(await keysOf(storage.cut(prng)), ['a', 'b', 'c'])
    await after[Symbol.asyncDispose]()
  })

  test(`a segment whose sync failed: what is found of it counts on disk, ${again}`, async () => {
    const first = newDisk()
    const prng = prngFromSeed(2)
    const namespace = await openNamespace(engineContext(first, prng), 'user')
    namespace.put(Buffer.from('a'), Buffer.from('value'))
    await namespace.sync()
    first.failsSync = path => /\/d\d+$/.test(path)
    namespace.put(Buffer.from('b'), Buffer.from('value'))
    await assert.rejects(namespace.sync(), NamespaceReadOnly)
    await namespace[Symbol.asyncDispose]()
    first.failsSync = () => false
    const storage = next(first)
    const after = await openNamespace(engineContext(storage, prng), 'user')
    assert.equal(String(await after.get(Buffer.from('b'), { cold: 'wait' })), 'value')
    after.put(Buffer.from('c'), Buffer.from('value'))
    await after.sync()
    for (let n = 0; n < 20; n++) assert.deepEqual(await keysOf(storage.cut(prng)), ['a', 'b', 'c'])
    await after[Symbol.asyncDispose]()
  })
}

test('when the manifest can be neither synced nor written anew, nothing is recorded, stored or evicted any more', async () => {
  const storage = newDisk()
  const prng = prngFromSeed(4)
  const clock = new ManualClock()
  let storedCount = 0
  const segmentClosed = async () => `${storedCount++}`.padStart(32, '0')
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed }
  const context = engineContext(storage, prng, { clock, hooks, segmentBytesMax: 300, limitBytes: 3_000 })
  const namespace = await openNamespace(context, 'user')
  const settle = async () => {
    for (let turn = 0; turn < 30; turn++) await clock.advance(100)
  }
  for (const key of ['a', 'b']) {
    namespace.put(Buffer.from(key), Buffer.alloc(200))
    namespace.jump()
  }
  await settle()
  assert.equal(storedCount, 2)
  let failures = 2
  storage.failsSync = path => path.includes('manifest') && failures-- > 0
  namespace.put(Buffer.from('c'), Buffer.alloc(200))
  // Whoever comes first hears of it; the namespace is read-only for all.
  await assert.rejects(namespace.update({ ...namespace.storedSettings, worm: true }), StorageError)
  assert.match(namespace.info().readOnlyReason!, /^the manifest cannot be synced: /)
  await assert.rejects(namespace.sync(), NamespaceReadOnly)
  assert.throws(() => namespace.jump(), NamespaceReadOnly)
  const manifest = storage.bytesOf('/data/ns/manifest')
  await settle()
  assert.deepEqual(storage.bytesOf('/data/ns/manifest'), manifest)
  assert.equal(storedCount, 2)
  for (const id of [0, 1]) assert.notEqual(storage.sizeBytes(`/data/ns/d${id}`), null)
  assert.equal((await contentsOf(namespace)).size, 3)
  await namespace[Symbol.asyncDispose]()
  assert.deepEqual(await keysOf(storage.kill()), ['a', 'b', 'c'])
})

test('a dropped namespace whose name could not be synced away does not come back', async () => {
  const storage = newDisk()
  const clock = new ManualClock()
  const context = engineContext(storage, prngFromSeed(5), { clock })
  await using namespaces = await Namespaces.open({ dataDirectory: '/data', mode: 'mixed', pinned: new Set() }, context)
  await namespaces.create('ns')
  let isGone = false
  storage.onOperation = operation => {
    if (operation === 'remove-directory /data/ns') isGone = true
  }
  let failures = 2
  storage.failsSync = path => isGone && path === '/data' && failures-- > 0
  await namespaces.drop('ns')
  assert.throws(() => namespaces.get('ns'), /cannot be opened/)
  for (let turn = 0; turn < 60; turn++) await clock.advance(500)
  assert.equal(namespaces.get('ns'), undefined)
  assert.equal(
    storage
      .cut(prngFromSeed(6))
      .list('/data')
      .some(({ name }) => name === 'ns'),
    false,
  )
  await namespaces.create('ns')
})
