import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { NamespaceReadOnly } from '../src/errors.ts'
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
