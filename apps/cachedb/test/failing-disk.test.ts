import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { CacheFull, NamespaceReadOnly } from '../src/errors.ts'
import { StorageError } from '../src/segment/storage.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

function newDisk(): SimulatedStorage {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  return storage
}

test('a sync that fails once loses nothing: the unsynced entries go to a new segment', async t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 150; round++) {
    const seed = prng.below(2 ** 32)
    try {
      await salvageRound(prngFromSeed(seed))
    } catch (error) {
      throw new Error(`round with seed ${seed}`, { cause: error })
    }
  }
})

async function salvageRound(prng: Prng): Promise<void> {
  const storage = newDisk()
  const namespace = await openNamespace(engineContext(storage, prng, { segmentBytesMax: 3_000 }), 'user')
  const model = new Map<string, string>()
  let isFailing = false
  const failed = new Set<string>()
  storage.failsSync = path => {
    if (!isFailing || !/\/d\d+$/.test(path) || failed.has(path)) return false
    isFailing = false
    failed.add(path)
    return true
  }
  for (let step = 0; step < 80; step++) {
    const key = Buffer.from(`k${prng.below(15)}`)
    if (prng.chance(0.25) && model.has(key.toString('hex'))) {
      namespace.delete(key)
      model.delete(key.toString('hex'))
    } else {
      const value = prng.bytes(prng.below(300))
      namespace.put(key, value)
      model.set(key.toString('hex'), digest(value))
    }
    if (prng.chance(0.1)) isFailing = true
    const dice = prng.below(10)
    if (dice === 0) await namespace.sync()
    if (dice === 1) void namespace.sync()
  }
  await namespace.sync()
  assert.deepEqual(new Map([...(await contentsOf(namespace))].sort()), new Map([...model].sort()))
  const after = await openNamespace(engineContext(storage.cut(prng), prng), 'user')
  assert.deepEqual(new Map([...(await contentsOf(after))].sort()), new Map([...model].sort()))
  await after[Symbol.asyncDispose]()
  await namespace[Symbol.asyncDispose]()
}

test('when the failed bytes are gone, or every sync fails, the namespace turns read-only and goes on answering', async () => {
  for (const afterFailedSync of ['disk', 'cache'] as const) {
    const storage = newDisk()
    const prng = prngFromSeed(1)
    const namespace = await openNamespace(engineContext(storage, prng), 'user')
    namespace.put(Buffer.from('durable'), Buffer.from('value'))
    await namespace.sync()
    storage.afterFailedSync = afterFailedSync
    storage.failsSync = path => /\/d\d+$/.test(path)
    namespace.put(Buffer.from('lost'), prng.bytes(50))
    await assert.rejects(namespace.sync(), NamespaceReadOnly)
    assert.throws(() => namespace.put(Buffer.from('more'), Buffer.from('x')), NamespaceReadOnly)
    assert.throws(() => namespace.delete(Buffer.from('durable')), NamespaceReadOnly)
    await assert.rejects(namespace.sync(), /^NamespaceReadOnly: READONLY a sync failed/)
    assert.equal(String(await namespace.get(Buffer.from('durable'), { cold: 'wait' })), 'value')
    await namespace[Symbol.asyncDispose]()
    const after = await openNamespace(engineContext(storage.cut(prng), prng), 'user')
    assert((await contentsOf(after)).has(Buffer.from('durable').toString('hex')))
    await after[Symbol.asyncDispose]()
  }
})

test('a full disk: a short append is taken back, FULL is answered, and room makes it go on', async t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 60; round++) {
    const storage = newDisk()
    const context = engineContext(storage, prng, { segmentBytesMax: 4_000 })
    const namespace = await openNamespace(context, 'sequential')
    const model = new Map<string, string>()
    const put = (value: Buffer) => {
      const key = namespace.put(Buffer.alloc(0), value)
      model.set(key!.toString('hex'), digest(value))
    }
    for (let i = 0; i < 10; i++) put(prng.bytes(prng.below(500)))
    await namespace.sync()
    // Below what `Room` keeps free, so that the append itself meets the end of the disk.
    Object.defineProperty(storage, 'freeBytes', { value: () => Number.POSITIVE_INFINITY })
    const used = () => storage.list('/data/ns').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    storage.capacityBytes = used() + prng.below(900)
    const full = () => {
      for (let i = 0; i < 40; i++) put(prng.bytes(1 + prng.below(500)))
    }
    assert.throws(full, CacheFull)
    assert.throws(full, CacheFull)
    storage.capacityBytes = Number.POSITIVE_INFINITY
    put(prng.bytes(100))
    await namespace.sync()
    assert.deepEqual(await contentsOf(namespace), model)
    const after = await openNamespace(engineContext(storage.cut(prng), prng), 'sequential')
    assert.deepEqual(await contentsOf(after), model)
    await after[Symbol.asyncDispose]()
    await namespace[Symbol.asyncDispose]()
  }
})

test('a disk too full for a hint closes the segment later, and loses nothing', async () => {
  const storage = newDisk()
  const prng = prngFromSeed(4)
  const clock = new ManualClock()
  const namespace = await openNamespace(engineContext(storage, prng, { clock }), 'user')
  namespace.put(Buffer.from('key'), Buffer.from('value'))
  await namespace.sync()
  namespace.jump()
  storage.capacityBytes = 0
  const first = () => namespace.segments()[0]!
  while (!first().note.startsWith('closing failed: ')) await clock.advance(100)
  assert.equal(first().state, 'open')
  assert.equal(String(await namespace.get(Buffer.from('key'), { cold: 'wait' })), 'value')
  storage.capacityBytes = Number.POSITIVE_INFINITY
  while (first().state === 'open') await clock.advance(100)
  assert.deepEqual([first().state, first().note], ['closed', ''])
  await namespace[Symbol.asyncDispose]()
})

test('behind a segment that lost bytes and could not be salvaged none is closed: what is found is a prefix', async () => {
  const storage = newDisk()
  const prng = prngFromSeed(6)
  const namespace = await openNamespace(engineContext(storage, prng), 'user')
  namespace.put(Buffer.from('a'), Buffer.from('synced'))
  await namespace.sync()
  storage.afterFailedSync = 'disk'
  storage.failsSync = path => path.endsWith('/d0')
  namespace.put(Buffer.from('b'), Buffer.from('lost'))
  namespace.jump()
  namespace.put(Buffer.from('c'), Buffer.from('behind the hole'))
  namespace.jump()
  await assert.rejects(namespace.sync(), NamespaceReadOnly)
  for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
  await using after = await openNamespace(engineContext(storage.cut(prng), prng), 'user')
  assert.deepEqual([...(await contentsOf(after)).keys()], [Buffer.from('a').toString('hex')])
  await namespace[Symbol.asyncDispose]()
})

test('a full segment that is salvaged does not end before what was appended behind it is on disk: a cut leaves a prefix', async () => {
  const storage = newDisk()
  const prng = prngFromSeed(9)
  await using namespace = await openNamespace(engineContext(storage, prng, { segmentBytesMax: 1_000 }), 'user')
  let failures = 1
  storage.failsSync = path => path.endsWith('/d0') && failures-- > 0
  let isSlow = false
  storage.syncTurns = () => (isSlow ? 60 : 1)
  const disks: SimulatedStorage[] = []
  storage.onOperation = operation => {
    isSlow = operation === 'sync-begun /data/ns/d1'
    for (let n = 0; n < 5; n++) disks.push(storage.cut(prng))
  }
  for (let n = 0; n < 11; n++) namespace.put(Buffer.from(`k${n}`), prng.bytes(100))
  await namespace.sync()
  storage.onOperation = () => {}
  for (const disk of disks) {
    await using after = await openNamespace(engineContext(disk, prng), 'user')
    const found = [...(await contentsOf(after)).keys()].map(key => Number(Buffer.from(key, 'hex').toString().slice(1)))
    assert.deepEqual(new Set(found), new Set(found.keys()), `${found} of k0 to k10`)
  }
})

test('a salvaged deletion is remembered while the segment it was taken from holds the value', async () => {
  const storage = newDisk()
  const prng = prngFromSeed(8)
  const namespace = await openNamespace(engineContext(storage, prng), 'user')
  namespace.put(Buffer.from('deleted'), Buffer.from('value'))
  namespace.put(Buffer.from('kept'), Buffer.from('value'))
  await namespace.sync()
  let failures = 1
  storage.failsSync = path => path.endsWith('/d0') && failures-- > 0
  namespace.delete(Buffer.from('deleted'))
  await namespace.sync()
  namespace.jump()
  await namespace.sync()
  for (let turn = 0; turn < 30; turn++) await new Promise(resolve => setImmediate(resolve))
  await using after = await openNamespace(engineContext(storage.cut(prng), prng), 'user')
  assert.deepEqual([...(await contentsOf(after)).keys()], [Buffer.from('kept').toString('hex')])
  await namespace[Symbol.asyncDispose]()
})

test('a short append that cannot be taken back ends its segment; what is closed has no byte too many', async () => {
  const storage = newDisk()
  const prng = prngFromSeed(5)
  const openAppend = storage.openAppend.bind(storage)
  let failures = 1
  storage.openAppend = path => {
    const file = openAppend(path)
    const truncate = file.truncate.bind(file)
    file.truncate = sizeBytes => {
      if (path.endsWith('/d0') && failures-- > 0) throw new StorageError(`${path}: EIO`)
      truncate(sizeBytes)
    }
    return file
  }
  const namespace = await openNamespace(engineContext(storage, prng), 'user')
  namespace.put(Buffer.from('a'), Buffer.from('value'))
  Object.defineProperty(storage, 'freeBytes', { value: () => Number.POSITIVE_INFINITY })
  const used = () => storage.list('/data/ns').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  storage.capacityBytes = used() + 10
  assert.throws(() => namespace.put(Buffer.from('b'), Buffer.from('value')))
  storage.capacityBytes = Number.POSITIVE_INFINITY
  namespace.put(Buffer.from('c'), Buffer.from('value'))
  await namespace.sync()
  for (let turn = 0; turn < 30; turn++) await new Promise(resolve => setImmediate(resolve))
  const [first] = namespace.segments()
  assert.equal(first?.state, 'closed')
  assert.equal(storage.sizeBytes('/data/ns/d0'), first?.dataBytes)
  await using after = await openNamespace(engineContext(storage.kill(), prng), 'user')
  assert.deepEqual([...(await contentsOf(after)).keys()].sort(), ['61', '63'])
  await namespace[Symbol.asyncDispose]()
})

test('a dead segment whose record cannot be synced stays as it is until the next start: nothing else is done with it', async () => {
  const storage = newDisk()
  const clock = new ManualClock()
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed: async () => '00112233445566778899aabbccddeeff' }
  const context = engineContext(storage, prngFromSeed(3), { clock, hooks, segmentBytesMax: 300, limitBytes: 3_000 })
  const namespace = await openNamespace(context, 'user')
  const settle = async () => {
    for (let turn = 0; turn < 30; turn++) await clock.advance(1)
  }
  namespace.put(Buffer.from('key'), Buffer.alloc(200))
  namespace.jump()
  await settle()
  assert.equal(namespace.segments()[0]!.state, 'stored')
  // The first sync that fails has the manifest written anew, whose sync fails too.
  storage.failsSync = path => path.includes('manifest')
  namespace.put(Buffer.from('key'), Buffer.alloc(100))
  await settle()
  assert.equal(namespace.segments()[0]!.note, 'burying')
  // Eviction is pressed for room.
  const fill = () => {
    for (let i = 0; ; i++) namespace.put(Buffer.from(`filler ${i}`), Buffer.alloc(200))
  }
  assert.throws(fill)
  await settle()
  assert.equal(namespace.segments()[0]!.note, 'burying')
  storage.failsSync = () => false
  await clock.advance(10_000)
  assert.equal(namespace.segments()[0]!.note, 'burying')
  assert.throws(() => namespace.put(Buffer.from('more'), Buffer.alloc(1)), /READONLY the manifest cannot be synced/)
  await namespace[Symbol.asyncDispose]()
  await using after = await openNamespace(engineContext(storage, prngFromSeed(3), { clock, hooks }), 'user')
  await settle()
  assert(!after.segments().some(({ id }) => id === 0))
})
