import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeId } from '../src/engine/keydir/keydir-sequential.ts'
import type { Namespace } from '../src/engine/namespace.ts'
import { CacheFull, SegmentUnavailable } from '../src/errors.ts'
import { fill, idsOf, key, newWorld, open, pass, segmentBytesMax, type World } from './compaction-world.ts'
import { contentsOf } from './engine-fixture.ts'
import type { SimulatedStorage } from './simulated-storage.ts'

/** A closed segment of seven values, two of which live. */
async function withSparse(world: World, options: Parameters<typeof open>[2] = {}): Promise<Namespace> {
  const namespace = await open(world, 'user', options)
  fill(namespace, 'k', 7, world.prng)
  namespace.jump()
  await pass(world, 2)
  for (let n = 0; n < 5; n++) namespace.delete(key(`k${n}`))
  return namespace
}

function damageLast(storage: SimulatedStorage, path: string): void {
  const bytes = storage.bytesOf(path)
  bytes[bytes.length - 1]! ^= 1
  storage.put(path, bytes)
}

async function read(namespace: Namespace, name: string): Promise<Buffer> {
  return (await namespace.get(key(name), { cold: 'wait' }))!
}

test('cut at every operation of a compaction and of what follows it: nothing is lost, nothing comes back', async () => {
  for (const mode of ['user', 'sequential'] as const)
    for (const hasStore of [false, true]) {
      const world = newWorld({ hasStore })
      const { storage, prng, store } = world
      const namespace = await open(world, mode)
      const keyOf = (n: number) => (mode === 'user' ? key(`k${n}`) : encodeId(n))
      for (let n = 0; n < 14; n++) namespace.put(mode === 'user' ? keyOf(n) : Buffer.alloc(0), prng.bytes(100))
      namespace.jump()
      await pass(world, 2)
      for (const n of [0, 1, 2, 4, 5, 7, 8, 9, 10]) namespace.delete(keyOf(n))
      await namespace.sync()
      const expected = await contentsOf(namespace)
      const images: SimulatedStorage[] = []
      storage.onOperation = () => images.push(storage.cut(prng), storage.cut(prng), storage.kill())
      await pass(world, 3)
      namespace.jump()
      await pass(world, 3)
      storage.onOperation = () => {}
      assert.equal(namespace.info().compaction.segments, 2)
      assert(images.length > 60, `${images.length} images`)
      for (const image of images) {
        const found = await open({ ...world, store: null }, mode, {
          storage: image,
          compactBelow: 0,
          ...(store === null ? {} : { hooks: store.lookingHooks(image, prng) }),
        })
        assert.deepEqual(await contentsOf(found), expected)
        if (mode === 'sequential') assert.equal(found.info().nextId, 14)
      }
      assert.deepEqual(store?.missed ?? [], [])
    }
})

test('a damaged value in a segment that is not stored: the segment stays, and what can be read is read', async () => {
  const world = newWorld()
  const namespace = await withSparse(world)
  damageLast(world.storage, '/data/ns/d0')
  await pass(world, 30)
  assert.deepEqual(idsOf(namespace), [0, 1])
  const { segments, damagedSegments } = namespace.info().compaction
  assert.deepEqual({ segments, damagedSegments }, { segments: 0, damagedSegments: 1 })
  assert.match(namespace.segments()[0]!.note, /fails its check/)
  assert.equal((await read(namespace, 'k5')).length, 100)
  await assert.rejects(read(namespace, 'k6'), SegmentUnavailable)
})

test('a damaged value in a stored segment: the store has it', async () => {
  const world = newWorld({ hasStore: true })
  const namespace = await withSparse(world)
  const good = await read(namespace, 'k6')
  damageLast(world.storage, '/data/ns/d0')
  await pass(world, 3)
  assert.equal(namespace.info().compaction.damagedSegments, 1)
  assert.equal(namespace.segments()[0]!.state, 'stored')
  await pass(world, 700)
  assert.equal(namespace.info().compaction.segments, 1)
  assert.deepEqual(await read(namespace, 'k6'), good)
})

test('who meets a damaged value while its segment is compacted gets it from the store', async () => {
  const world = newWorld({ hasStore: true })
  // The second live value is copied some seconds behind the first.
  const namespace = await open(world, 'user', { segmentBytesMax: 200_000, compactBytesPerSecond: 100 })
  namespace.put(key('first'), world.prng.bytes(100))
  namespace.put(key('dead'), world.prng.bytes(100_000))
  const good = world.prng.bytes(100)
  namespace.put(key('last'), good)
  namespace.jump()
  await pass(world, 2)
  namespace.delete(key('dead'))
  await pass(world, 1)
  assert.equal(namespace.segments()[0]!.note, 'compacting')
  damageLast(world.storage, '/data/ns/d0')
  const reading = read(namespace, 'last')
  await pass(world, 5)
  assert.deepEqual(await reading, good)
  assert.equal(namespace.info().compaction.damagedSegments, 1)
})

/** Time stands still. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** Puts and deletes until nothing fits any more, so that one value in five lives. */
async function fillUp(namespace: Namespace, world: World, name = 'v'): Promise<number> {
  for (let n = 0; ; n++) {
    try {
      namespace.put(key(`${name}${n}`), world.prng.bytes(100))
      if (n % 5 > 0) namespace.delete(key(`${name}${n}`))
      // What is full is closed, and its hint written.
      if (n % 10 === 0) await turns()
    } catch (error) {
      assert(error instanceof CacheFull)
      return n
    }
  }
}

for (const [what, options, capacityBytes] of [
  ['cache', { limitBytes: 12 * segmentBytesMax }, Number.POSITIVE_INFINITY],
  ['disk', {}, 16 * segmentBytesMax],
] as const)
  for (const hasStore of [false, true])
    test(`a full ${what} shrinks by compaction, ${hasStore ? 'while the store is away' : 'without a store'}`, async () => {
      const world = newWorld({ hasStore })
      if (world.store !== null) world.store.isDown = true
      world.storage.capacityBytes = capacityBytes
      const namespace = await open(world, 'user', options)
      const count = await fillUp(namespace, world)
      const before = await contentsOf(namespace)
      await pass(world, 60)
      assert.deepEqual(await contentsOf(namespace), before)
      const more = await fillUp(namespace, world)
      assert(more > count / 3, `${count} puts, then ${more}`)
    })

test('a full cache shrinks by compaction, also when a value in the middle of a segment is damaged', async () => {
  const world = newWorld()
  const namespace = await open(world, 'user', { limitBytes: 12 * segmentBytesMax })
  const count = await fillUp(namespace, world)
  const bytes = world.storage.bytesOf('/data/ns/d0')
  bytes[bytes.indexOf('v5') + 2]! ^= 1
  world.storage.put('/data/ns/d0', bytes)
  await pass(world, 60)
  // What was copied before that was met is not lent for ever.
  assert.equal(namespace.info().compaction.damagedSegments, 1)
  await fillUp(namespace, world, 'w')
  await pass(world, 60)
  const more = await fillUp(namespace, world, 'x')
  assert(more > count / 4, `${count} puts, then ${more}`)
})

test('no space in the middle of a copy: all is as it was, and goes on when there is space', async () => {
  const world = newWorld()
  const { storage } = world
  const namespace = await withSparse(world)
  const before = await contentsOf(namespace)
  storage.capacityBytes = storage.list('/data/ns').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) + 150
  // A quota: the filesystem shows room.
  Object.defineProperty(storage, 'freeBytes', { value: () => Number.POSITIVE_INFINITY })
  await pass(world, 10)
  assert.equal(namespace.info().compaction.segments, 0)
  assert(namespace.info().compaction.copiedBytes > 0)
  assert.deepEqual(await contentsOf(namespace), before)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  await pass(world, 10)
  assert.deepEqual(idsOf(namespace), [1])
  assert.deepEqual(await contentsOf(namespace), before)
})

test('a dead segment leaves a disk without one free byte', async () => {
  const world = newWorld()
  const { storage } = world
  const namespace = await open(world, 'user')
  fill(namespace, 'k', 7, world.prng)
  namespace.jump()
  await pass(world, 2)
  for (let n = 0; n < 7; n++) namespace.delete(key(`k${n}`))
  storage.capacityBytes = storage.list('/data/ns').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  await pass(world, 2)
  assert.deepEqual(idsOf(namespace), [1])
  const crashed = await open(world, 'user', { storage: storage.kill() })
  assert.equal(crashed.info().entries, 0)
})

test('so many bytes a second, reads and writes together', async () => {
  const world = newWorld()
  const namespace = await withSparse(world, { compactBytesPerSecond: 100 })
  await world.clock.advance(1_000)
  await turns()
  // Two values lie side by side: 240 bytes read, 240 written.
  await world.clock.advance(4_700)
  assert.deepEqual(idsOf(namespace), [0, 1])
  await pass(world, 2)
  assert.deepEqual(idsOf(namespace), [1])
})

test('FLUSH, NSDEL and the end of the server in the middle of a compaction', async () => {
  for (const end of ['flush', 'drop', Symbol.asyncDispose] as const) {
    const world = newWorld()
    const namespace = await withSparse(world, { compactBytesPerSecond: 10 })
    await world.clock.advance(1_000)
    await turns()
    assert.equal(namespace.segments()[0]!.note, 'compacting')
    await namespace[end]()
    await pass(world, 60)
    assert.equal(namespace.info().compaction.segments, 0)
    const again = await open(world, 'user')
    assert.equal(again.info().entries, end === Symbol.asyncDispose ? 2 : 0)
    await again[Symbol.asyncDispose]()
  }
})

for (const afterFailedSync of ['cache', 'disk'] as const)
  test(`the sync of a segment with copies fails, and its file shows what is in the ${afterFailedSync}: nothing is lost`, async () => {
    const world = newWorld()
    const { storage, prng } = world
    const namespace = await open(world, 'sequential')
    for (let id = 0; id < 7; id++) namespace.put(Buffer.alloc(0), prng.bytes(100))
    namespace.jump()
    await pass(world, 2)
    await namespace.sync()
    const before = await contentsOf(namespace)
    for (let id = 0; id < 5; id++) {
      namespace.delete(encodeId(id))
      before.delete(encodeId(id).toString('hex'))
    }
    storage.afterFailedSync = afterFailedSync
    storage.failsSync = path => path.endsWith('/d1')
    await pass(world, 5)
    assert.equal(namespace.info().compaction.segments, 1)
    // What reached the disk is there: salvaged, or still where it was.
    for (const image of [storage.kill(), storage.cut(prng)]) {
      const found = await open(world, 'sequential', { storage: image, compactBelow: 0 })
      const contents = await contentsOf(found)
      for (const [id, value] of before) assert.equal(contents.get(id), value)
      assert.equal(found.info().nextId, 7)
    }
  })
