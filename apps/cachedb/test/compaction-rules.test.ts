import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Prng } from '@qsfs/testkit/prng'
import { encodeId } from '../src/engine/keydir/keydir-sequential.ts'
import { fill, idsOf, key, newWorld, open, pass, segmentBytesMax } from './compaction-world.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

test('a sparse segment is copied and goes; values, times and next ids stay', async () => {
  const world = newWorld()
  const namespace = await open(world, 'sequential')
  for (let id = 0; id < 7; id++) namespace.put(Buffer.alloc(0), world.prng.bytes(100), 1_000 + id)
  namespace.jump()
  for (const id of [0, 1, 2, 4, 5]) namespace.delete(encodeId(id))
  const before = await contentsOf(namespace)
  await pass(world)
  assert.deepEqual(idsOf(namespace), [1])
  const { compaction, nextId } = namespace.info()
  assert.deepEqual(compaction, { segments: 1, copiedBytes: 2 * 126, freedBytes: 7 * 126 + 28, damagedSegments: 0 })
  assert.equal(nextId, 7)
  assert.deepEqual(await contentsOf(namespace), before)
  assert.equal(namespace.stat(encodeId(3))!.timestampSeconds, 1_003)
  const crashed = await open(world, 'sequential', { storage: world.storage.kill() })
  assert.deepEqual(await contentsOf(crashed), before)
  assert.equal(crashed.info().nextId, 7)
  assert.equal(crashed.stat(encodeId(3))!.timestampSeconds, 1_003)
})

test('the highest ids die and their segments go: no id is given twice', async () => {
  const world = newWorld()
  const namespace = await open(world, 'sequential')
  for (let id = 0; id < 30; id++) namespace.put(Buffer.alloc(0), world.prng.bytes(100))
  for (let id = 1; id < 30; id++) namespace.delete(encodeId(id))
  namespace.jump()
  await pass(world)
  assert(namespace.info().compaction.segments > 0)
  for (const image of [world.storage.kill(), world.storage.cut(world.prng)]) {
    const found = await open(world, 'sequential', { storage: image })
    assert.equal(found.info().nextId, 30)
    assert.deepEqual([...(await contentsOf(found)).keys()], [encodeId(0).toString('hex')])
  }
})

test('a deletion whose segment is rewritten is remembered while an older segment holds its key', async () => {
  const world = newWorld()
  const namespace = await open(world, 'user')
  fill(namespace, 'old', 7, world.prng)
  namespace.jump()
  fill(namespace, 'young', 7, world.prng)
  namespace.delete(key('old3'))
  fill(namespace, 'other', 35, world.prng)
  namespace.jump()
  // The segment of the deletion is sparse; that of the value is not.
  for (let n = 0; n < 6; n++) namespace.delete(key(`young${n}`))
  await pass(world)
  assert.equal(namespace.info().compaction.segments, 1)
  assert.deepEqual(idsOf(namespace).slice(0, 2), [0, 2])
  const crashed = await open(world, 'user', { storage: world.storage.kill(), compactBelow: 0 })
  assert.equal(await crashed.get(key('old3'), { cold: 'fail' }), null)
  assert.equal(crashed.info().entries, 6 + 1 + 35)
  // When that of the value goes, so may they all.
  for (let n = 0; n < 7; n++) if (n !== 3) crashed.delete(key(`old${n}`))
  for (let n = 0; n < 35; n++) crashed.delete(key(`other${n}`))
  crashed.delete(key('young6'))
  crashed.jump()
  await pass(world)
  assert.deepEqual(
    crashed.segments().map(({ state }) => state),
    ['open'],
  )
})

test('a copy does not go before its source, or a deletion that knows the copy alone would be forgotten', async () => {
  const world = newWorld()
  const namespace = await open(world, 'sequential')
  for (let id = 0; id < 7; id++) namespace.put(Buffer.alloc(0), world.prng.bytes(100))
  namespace.jump()
  await pass(world, 2)
  // A reader holds the source, however long that takes.
  const release = holdNextRead(world.storage)
  const reading = namespace.get(encodeId(6), { cold: 'wait' })
  for (let id = 0; id < 6; id++) namespace.delete(encodeId(id))
  namespace.jump()
  await pass(world, 3)
  assert.equal(namespace.info().compaction.segments, 1)
  // The copy dies, and with it lies the deletion.
  namespace.delete(encodeId(6))
  namespace.jump()
  await pass(world, 3)
  const crashed = await open(world, 'sequential', { storage: world.storage.kill() })
  assert.equal(crashed.info().entries, 0)
  release()
  assert.equal((await reading)?.length, 100)
  await pass(world, 1)
  assert.deepEqual(idsOf(namespace), [3])
})

/** The next file that is opened for reading answers its first read when the function returned is called. */
function holdNextRead(storage: SimulatedStorage): () => void {
  const released = Promise.withResolvers<void>()
  const openRead = storage.openRead.bind(storage)
  storage.openRead = path => {
    storage.openRead = openRead
    const file = openRead(path)
    const read = async (offsetBytes: number, lengthBytes: number) => {
      await released.promise
      return file.read(offsetBytes, lengthBytes)
    }
    return { ...file, read }
  }
  return released.resolve
}

for (const crashes of [false, true])
  test(`a stored source stays until the store has its copies${crashes ? ', also after a crash' : ''}`, async () => {
    const world = newWorld({ hasStore: true })
    let namespace = await open(world, 'user')
    fill(namespace, 'k', 7, world.prng)
    namespace.jump()
    await pass(world, 2)
    const { objectId } = namespace.segments()[0]!
    for (let n = 0; n < 5; n++) namespace.delete(key(`k${n}`))
    await pass(world)
    assert.equal(namespace.info().compaction.segments, 1)
    if (crashes) {
      await namespace.sync()
      const storage = world.storage.kill()
      namespace = await open({ ...world, storage }, 'user')
    }
    await pass(world)
    assert(world.store!.objects.has(objectId!))
    assert.equal(idsOf(namespace)[0], 0)
    namespace.jump()
    await pass(world)
    assert(!world.store!.objects.has(objectId!))
    assert.equal(idsOf(namespace).includes(0), false)
    assert.equal(namespace.info().entries, 2)
    for (const name of ['k5', 'k6']) assert.notEqual(await namespace.get(key(name), { cold: 'wait' }), null)
  })

for (const [what, hasStore, pinned] of [
  ['without a store', false, false],
  ['with a store', true, false],
  ['pinned, with a store', true, true],
] as const)
  test(`live bytes are at least half of local bytes once compaction is idle, ${what}`, async () => {
    const world = newWorld({ hasStore })
    for (const mode of ['user', 'sequential'] as const) {
      await using namespace = await open({ ...world, storage: newWorld().storage }, mode, {
        pinned,
        storage: freshDisk(),
      })
      const contents = new Map<string, string>()
      for (let step = 0; step < 4_000; step++) {
        const isNew = mode === 'sequential' && (contents.size < 40 || world.prng.chance(0.5))
        const name =
          mode === 'user' ? key(`k${world.prng.below(60)}`) : isNew ? Buffer.alloc(0) : anyKey(contents, world.prng)
        const value = world.prng.bytes(20 + world.prng.below(100))
        if (contents.has(name.toString('hex')) && world.prng.chance(0.3)) {
          namespace.delete(name)
          contents.delete(name.toString('hex'))
        } else {
          const stored = namespace.put(name, value)
          if (stored !== null) contents.set(stored.toString('hex'), digest(value))
        }
        if (step % 500 === 0) await pass(world, 2)
      }
      namespace.jump()
      await pass(world, 60)
      const local = namespace.segments().filter(({ local, state }) => local && state !== 'open')
      const [dataBytes, liveBytes] = [sumOf(local, 'dataBytes'), sumOf(local, 'liveBytes')]
      assert(liveBytes >= dataBytes / 2, `${mode}: ${liveBytes} of ${dataBytes} live`)
      assert.deepEqual(await contentsOf(namespace), contents)
    }
  })

function freshDisk(): SimulatedStorage {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  return storage
}

function anyKey(contents: ReadonlyMap<string, string>, prng: Prng): Buffer {
  return Buffer.from(prng.pick([...contents.keys()]), 'hex')
}

function sumOf<K extends string>(items: readonly Record<K, number>[], field: K): number {
  return items.reduce((sum, item) => sum + item[field], 0)
}

test('many deletions: the oldest segments are rewritten, however full, until few deletions must be remembered', async () => {
  const world = newWorld()
  const namespace = await open(world, 'user')
  fill(namespace, 'cold', 40, world.prng)
  for (let n = 0; n < 300; n++) {
    namespace.put(key('hot'), world.prng.bytes(10))
    namespace.delete(key('hot'))
  }
  namespace.jump()
  await pass(world, 60)
  const local = namespace.segments().filter(({ state }) => state !== 'open')
  assert(sumOf(local, 'liveBytes') >= sumOf(local, 'dataBytes') * 0.5)
  assert.equal(namespace.info().entries, 40)
  const crashed = await open(world, 'user', { storage: world.storage.kill() })
  assert.equal(crashed.info().entries, 40)
})

test('namespaces take turns: one that always has something to compact does not keep the others from it', async () => {
  const { storage, clock, prng } = newWorld()
  const context = engineContext(storage, prng, {
    clock,
    segmentBytesMax,
    compactBelow: 0.5,
    compactBytesPerSecond: 100,
  })
  const namespaces = [
    await openNamespace(context, 'user', { name: 'a' }),
    await openNamespace(context, 'user', { name: 'b' }),
  ] as const
  for (const namespace of namespaces) {
    fill(namespace, 'k', 35, prng)
    for (let n = 0; n < 35; n++) if (n % 7 > 0) namespace.delete(key(`k${n}`))
    namespace.jump()
  }
  const counts = () => namespaces.map(namespace => namespace.info().compaction.segments)
  const world = { storage, clock, prng, store: null }
  while (counts()[0]! + counts()[1]! < 4) await pass(world, 1)
  assert.deepEqual(counts(), [2, 2])
  for (const namespace of namespaces) await namespace[Symbol.asyncDispose]()
})
