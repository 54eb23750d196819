import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '@qsfs/concurrency/clock'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import type { Namespace } from '../src/engine/namespace.ts'
import { SegmentUnavailable } from '../src/errors.ts'
import { StorageError } from '../src/segment/storage.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const objectId = '00112233445566778899aabbccddeeff'
const key = Buffer.from('key')
const value = Buffer.from('value')
const wait = { cold: 'wait' } as const

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** A disk, and a store that holds one object in memory: that of d0. */
function world({ clock = new ManualClock(), ...changes }: Partial<Hooks> & { readonly clock?: Clock } = {}) {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const stored: { bytes: Buffer } = { bytes: Buffer.alloc(0) }
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async ({ dataPath }) => {
      if (dataPath.endsWith('/d0')) stored.bytes = storage.bytesOf(dataPath)
      return objectId
    },
    segmentMissing: async ({ dataPath }) => storage.put(dataPath, stored.bytes),
    ...changes,
  }
  const open = () => openNamespace(engineContext(storage, prngFromSeed(1), { hooks, clock }), 'user')
  return { storage, stored, open }
}

async function withStoredSegment(open: () => Promise<Namespace>): Promise<void> {
  await using namespace = await open()
  namespace.put(key, value)
  namespace.jump()
  await turns(30)
  assert.equal(namespace.segments()[0]!.state, 'stored')
}

test('a namespace dropped and made again while a segment is restored keeps its own files', async () => {
  const arrived = Promise.withResolvers<void>()
  const { storage, stored, open } = world({
    segmentMissing: async ({ dataPath }) => {
      await arrived.promise
      storage.put(dataPath, stored.bytes)
    },
  })
  await withStoredSegment(open)
  storage.remove('/data/ns/d0')
  const namespace = await open()
  const read = assert.rejects(async () => namespace.get(key, wait), SegmentUnavailable)
  await turns(5)
  const made = namespace.drop().then(async () => {
    const again = await open()
    again.put(Buffer.from('new'), value)
    await again.sync()
    return again
  })
  await turns(30)
  arrived.resolve()
  await read
  await using again = await made
  await turns(10)
  await using after = await openNamespace(engineContext(storage.kill(), prngFromSeed(2)), 'user')
  assert.deepEqual([...(await contentsOf(after))], [[Buffer.from('new').toString('hex'), digest(value)]])
  assert.equal(String(await again.get(Buffer.from('new'), wait)), 'value')
})

test('all who read a damaged segment wait for the good one, also while its file is given up', async () => {
  const { storage, open } = world()
  await withStoredSegment(open)
  const bytes = storage.bytesOf('/data/ns/d0')
  bytes[bytes.length - 1]! ^= 1
  storage.put('/data/ns/d0', bytes)
  await using namespace = await open()
  const reads = Array.from({ length: 3 }, async () => namespace.get(key, wait))
  await turns(1)
  reads.push((async () => namespace.get(key, wait))())
  assert.deepEqual((await Promise.all(reads)).map(String), Array(4).fill('value'))
})

test('restores that failed often are tried again within ten seconds: somebody waits', async () => {
  const clock = new ManualClock()
  let calls = 0
  const { storage, open } = world({
    clock,
    segmentMissing: async () => {
      calls++
      throw new HookFailed('no backend answers')
    },
  })
  await withStoredSegment(open)
  storage.remove('/data/ns/d0')
  await using namespace = await open()
  for (let attempt = 1; attempt <= 12; attempt++) {
    await assert.rejects(async () => namespace.get(key, wait), SegmentUnavailable)
    assert.equal(calls, attempt)
    await clock.advance(10_001)
  }
})

test('a lost file that somebody puts back is taken, not replaced; one that is another is left alone', async () => {
  const { storage, open } = world({
    segmentClosed: async () => null,
    segmentMissing: async () => {
      throw new HookFailed('nobody has it')
    },
  })
  {
    await using namespace = await open()
    namespace.put(key, value)
    namespace.jump()
    await turns(30)
  }
  const good = storage.bytesOf('/data/ns/d0')
  storage.remove('/data/ns/d0')
  const clock = new ManualClock()
  const context = engineContext(storage, prngFromSeed(1), { clock, hooks: { ...noHooks, configured: true } })
  await using namespace = await openNamespace(context, 'user')
  await turns(5)
  storage.put('/data/ns/d0', good.subarray(0, good.length - 1))
  await clock.advance(11_000)
  await assert.rejects(namespace.warm(0), /bytes, not/)
  assert.equal(storage.sizeBytes('/data/ns/d0'), good.length - 1)
  storage.put('/data/ns/d0', good)
  await clock.advance(11_000)
  assert.equal(String(await namespace.get(key, wait)), 'value')
})

test('a closed segment is stored only as long as the manifest says: bytes behind its end are cut off', async () => {
  const { storage, stored, open } = world()
  {
    await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
    namespace.put(key, value)
    namespace.jump()
    await turns(30)
  }
  const good = storage.bytesOf('/data/ns/d0')
  // A truncation that a power cut undid.
  storage.put('/data/ns/d0', Buffer.concat([good, Buffer.alloc(100)]))
  await withStoredSegment(open)
  assert(stored.bytes.equals(good))
})

test('a file that is shorter than the manifest says is not stored', async () => {
  const { storage, stored, open } = world()
  {
    await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
    namespace.put(key, value)
    namespace.jump()
    await turns(30)
  }
  storage.put('/data/ns/d0', storage.bytesOf('/data/ns/d0').subarray(0, 40))
  await using namespace = await open()
  await turns(30)
  assert.equal(namespace.segments()[0]!.state, 'closed')
  assert.match(namespace.segments()[0]!.note, /the file has 40 bytes/)
  assert.equal(stored.bytes.length, 0)
})

test('a stored segment whose disk does not read is fetched again', async () => {
  const { storage, open } = world()
  await withStoredSegment(open)
  await using namespace = await open()
  const openRead = storage.openRead.bind(storage)
  let failures = 1
  storage.openRead = path => {
    const file = openRead(path)
    return {
      ...file,
      sizeBytes: file.sizeBytes,
      readSync: file.readSync,
      [Symbol.dispose]: () => file[Symbol.dispose](),
      read: async (offsetBytes, lengthBytes) => {
        if (path.endsWith('/d0') && failures-- > 0) throw new StorageError(`${path}: EIO`)
        return file.read(offsetBytes, lengthBytes)
      },
    }
  }
  assert.equal(String(await namespace.get(key, wait)), 'value')
})

test('a segment bigger than the whole cache is said to be, and holds up no other restore', async () => {
  const { storage, stored, open } = world()
  await withStoredSegment(open)
  storage.remove('/data/ns/d0')
  const hooks = { ...noHooks, configured: true, segmentMissing: async () => storage.put('/data/ns/d0', stored.bytes) }
  await using namespace = await openNamespace(
    engineContext(storage, prngFromSeed(1), { hooks, segmentBytesMax: 2, limitBytes: stored.bytes.length - 1 }),
    'user',
  )
  await assert.rejects(async () => namespace.get(key, wait), /cache_bytes/)
  assert.equal(namespace.segments()[0]!.state, 'absent')
})

test('a stored segment that rotted and lost its hint too is fetched again: no older value comes back', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const objects = new Map<string, Buffer>()
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async ({ dataPath }) => {
      const id = String(objects.size).padStart(32, '0')
      objects.set(id, storage.bytesOf(dataPath))
      return id
    },
    segmentMissing: async ({ dataPath, objectId }) => storage.put(dataPath, objects.get(objectId!)!),
  }
  const open = () => openNamespace(engineContext(storage, prngFromSeed(1), { hooks }), 'user')
  {
    await using namespace = await open()
    namespace.put(Buffer.from('other'), value)
    namespace.put(key, Buffer.from('older'))
    namespace.jump()
    namespace.put(key, Buffer.from('newer'))
    namespace.jump()
    await turns(60)
    assert.deepEqual(
      namespace.segments().map(({ state }) => state),
      ['stored', 'stored', 'open'],
    )
  }
  storage.remove('/data/ns/h1')
  const rotten = storage.bytesOf('/data/ns/d1')
  rotten[rotten.length - 1]! ^= 1
  storage.put('/data/ns/d1', rotten)
  await using namespace = await open()
  assert.equal(String(await namespace.get(key, wait)), 'newer')
})
