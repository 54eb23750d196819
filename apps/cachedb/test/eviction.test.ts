import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const objectId = '00112233445566778899aabbccddeeff'
const segmentBytesMax = 1_000

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

test('a burst that outruns eviction is told to wait: what is stored can leave, however long ago it was stored', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const clock = new ManualClock()
  const prng = prngFromSeed(1)
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed: async () => objectId }
  const context = engineContext(storage, prng, { hooks, clock, segmentBytesMax, limitBytes: 10 * segmentBytesMax })
  await using namespace = await openNamespace(context, 'sequential')
  const put = () => namespace.put(Buffer.alloc(0), prng.bytes(400))
  while (context.room.usedBytes < 6 * segmentBytesMax) put()
  await turns(50)
  await clock.advance(60_000)
  const burst = () => {
    for (;;) put()
  }
  assert.throws(burst, /FULL wait/)
  await turns(50)
  put()
  assert(namespace.segments().some(({ state }) => state === 'absent'))
})

test('a cache full of what cannot be stored has no room, and says so', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const clock = new ManualClock()
  const prng = prngFromSeed(1)
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed: async () => null }
  const context = engineContext(storage, prng, { hooks, clock, segmentBytesMax, limitBytes: 10 * segmentBytesMax })
  await using namespace = await openNamespace(context, 'sequential')
  const burst = () => {
    for (;;) namespace.put(Buffer.alloc(0), prng.bytes(400))
  }
  assert.throws(burst, /FULL /)
  await turns(50)
  await clock.advance(60_000)
  assert.throws(burst, /FULL space/)
})

/** A namespace without a limit on a disk of twelve segments, some of them stored long ago. */
async function onSmallDisk(limitBytes: number) {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const clock = new ManualClock()
  const prng = prngFromSeed(1)
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed: async () => objectId }
  const context = engineContext(storage, prng, { hooks, clock, segmentBytesMax, limitBytes })
  const namespace = await openNamespace(context, 'sequential')
  const put = () => namespace.put(Buffer.alloc(0), prng.bytes(400))
  while (context.room.usedBytes < 6 * segmentBytesMax) put()
  await turns(50)
  await clock.advance(60_000)
  const usedBytes = () => storage.list('/data/ns').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const absent = () => namespace.segments().filter(({ state }) => state === 'absent')
  const burst = () => {
    for (;;) put()
  }
  return { storage, namespace, context, put, burst, usedBytes, absent }
}

for (const limitBytes of [0, 100 * segmentBytesMax]) {
  test(`a disk that is full below a limit of ${limitBytes}: what is stored leaves, who appends is told to wait`, async () => {
    const { storage, namespace, put, burst, usedBytes, absent } = await onSmallDisk(limitBytes)
    await namespace.get(Buffer.alloc(8), { cold: 'fail' })
    storage.capacityBytes = usedBytes() + 3 * segmentBytesMax
    assert.throws(burst, /FULL wait/)
    await turns(50)
    put()
    assert(absent().length > 0)
    assert.equal(namespace.segments()[0]!.state, 'stored', 'the last one read stays longest')
    await namespace[Symbol.asyncDispose]()
  })
}

test('a disk without one free byte, not even for a record: what is stored leaves all the same', async () => {
  const { storage, namespace, put, burst, usedBytes, absent, context } = await onSmallDisk(0)
  // A quota: the filesystem shows room.
  Object.defineProperty(storage, 'freeBytes', { value: () => Number.POSITIVE_INFINITY })
  storage.capacityBytes = usedBytes()
  assert.throws(burst, /FULL wait/)
  await turns(50)
  put()
  assert(absent().length > 0)
  const local = namespace.segments().filter(({ local }) => local)
  assert.equal(
    context.room.usedBytes,
    local.reduce((sum, { dataBytes }) => sum + dataBytes, 0),
  )
  await namespace[Symbol.asyncDispose]()
})

test('a restore onto a full disk without a limit: what is stored makes room for it first', async () => {
  const { storage, namespace, absent, context, usedBytes } = await onSmallDisk(0)
  const first = namespace.segments()[0]!
  const bytes = storage.bytesOf('/data/ns/d0')
  const room: number[] = []
  const hooks = context.hooks as { segmentMissing: Hooks['segmentMissing'] }
  hooks.segmentMissing = async ({ dataPath }) => {
    room.push(storage.freeBytes())
    storage.put(dataPath, bytes)
  }
  storage.put('/data/ns/d0', bytes.with(60, bytes[60]! ^ 1))
  const value = namespace.get(Buffer.alloc(8), { cold: 'wait' })
  storage.capacityBytes = usedBytes()
  await value
  assert(room.length === 1 && room[0]! >= first.dataBytes, `the hook found ${room} bytes free`)
  assert(absent().length > 0)
  await namespace[Symbol.asyncDispose]()
})

test('a restore onto a full disk where nothing can leave is tried all the same, and its failure is heard', async () => {
  const { storage, namespace, context, usedBytes } = await onSmallDisk(0)
  const hooks = context.hooks as { segmentMissing: Hooks['segmentMissing'] }
  hooks.segmentMissing = async () => {
    throw new HookFailed('no space left on device')
  }
  for (const { id, state } of namespace.segments()) if (state === 'stored') storage.remove(`/data/ns/d${id}`)
  storage.capacityBytes = 0
  await assert.rejects(async () => namespace.get(Buffer.alloc(8), { cold: 'wait' }), /^SegmentUnavailable.*no space/)
  storage.capacityBytes = usedBytes() + 100
  await assert.rejects(async () => namespace.get(Buffer.alloc(8), { cold: 'wait' }), /no space left on device/)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  await namespace[Symbol.asyncDispose]()
})

test('a flush of a cache above its goal evicts nothing that the manifest already calls gone', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed: async () => objectId }
  const limitBytes = 4 * segmentBytesMax
  const context = engineContext(storage, prngFromSeed(1), { hooks, segmentBytesMax, limitBytes })
  await using namespace = await openNamespace(context, 'user')
  namespace.put(Buffer.from('key'), Buffer.alloc(911))
  namespace.jump()
  await turns(30)
  assert.equal(namespace.segments()[0]!.state, 'stored')
  // The header of the next segment is what takes it above.
  await namespace.flush()
  assert.equal(namespace.info().entries, 0)
})
