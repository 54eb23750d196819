import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { Namespace } from '../src/engine/namespace.ts'
import { SegmentUnavailable } from '../src/errors.ts'
import { DiskStorage } from '../src/segment/disk-storage.ts'
import { contentsOf, digest, engineContext, openNamespace, settingsOf } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const wait = { cold: 'wait' } as const

function newDisk(): SimulatedStorage {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  return storage
}

async function settled(namespace: Namespace): Promise<void> {
  while (namespace.segments().filter(({ state }) => state === 'open').length > 1)
    await new Promise(resolve => setImmediate(resolve))
}

test('0-db rules of SET and DEL: unchanged values, updates burn ids, worm, quota', async () => {
  const storage = newDisk()
  await using user = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
  const key = Buffer.from('hello')
  assert.deepEqual(user.put(key, Buffer.from('world')), key)
  assert.equal(user.put(key, Buffer.from('world')), null)
  assert.deepEqual(user.put(key, Buffer.from('WORLD')), key)
  assert.throws(() => user.put(Buffer.alloc(0), key), /Invalid argument, key needed/)
  assert.equal(String(await user.get(key, wait)), 'WORLD')
  assert.equal(String(await user.getRange(key, 1, 3, wait)), 'ORL')
  assert.equal(await user.check(key), 1)
  user.delete(key)
  assert.throws(() => user.delete(key), /Key not found/)
  await user.update({ ...user.settings, maxBytes: 16 })
  user.put(Buffer.from('a'), Buffer.alloc(10))
  assert.throws(() => user.put(Buffer.from('b'), Buffer.alloc(7)), /No space left on this namespace/)
  user.put(Buffer.from('a'), Buffer.alloc(16))
  await user.update({ ...user.settings, worm: true })
  assert.throws(() => user.put(Buffer.from('a'), Buffer.alloc(1)), /worm mode/)
  assert.throws(() => user.delete(Buffer.from('a')), /worm mode/)

  await using sequential = await openNamespace(engineContext(storage, prngFromSeed(2)), 'sequential', { name: 'seq' })
  const id = (n: number) => Buffer.from([n, 0, 0, 0, 0, 0, 0, 0])
  assert(sequential.isFresh)
  assert.deepEqual(sequential.put(Buffer.alloc(0), Buffer.from('zero')), id(0))
  assert.deepEqual(sequential.put(id(0), Buffer.from('update')), id(0))
  assert.deepEqual(sequential.put(Buffer.alloc(0), Buffer.from('two')), id(2))
  assert.throws(() => sequential.put(id(1), Buffer.from('x')), /only update authorized/)
  sequential.delete(id(0))
  assert.throws(() => sequential.put(id(0), Buffer.from('x')), /only update authorized/)
  assert.equal(sequential.position.nextId, 3)
})

test('SCAN gives live entries in append order, page by page, over closed and open segments', async t => {
  const prng = seededPrng(t)
  await using namespace = await openNamespace(engineContext(newDisk(), prng, { segmentBytesMax: 600 }), 'user')
  for (let i = 0; i < 60; i++) namespace.put(Buffer.from(`key${i}`), prng.bytes(30))
  for (let i = 0; i < 60; i += 3) namespace.delete(Buffer.from(`key${i}`))
  namespace.put(Buffer.from('key1'), Buffer.from('moved'))
  const expected = Array.from({ length: 60 }, (_, i) => i).filter(i => i % 3 > 0 && i > 1)
  for (const budgetMs of [0, 1_000]) {
    const seen: string[] = []
    let page = await namespace.scan(null, budgetMs)
    for (; page !== null; page = await namespace.scan(page.cursor, budgetMs)) {
      seen.push(...page.entries.map(({ key }) => String(key)))
      assert.equal(page.cursor.length, 17)
    }
    assert.deepEqual(seen, [...expected.map(i => `key${i}`), 'key1'])
  }
  await assert.rejects(namespace.scan(Buffer.from('x'), 1), /Invalid key format/)
  await assert.rejects(namespace.scan(Buffer.alloc(17, 1), 1), /Invalid key format/)
})

test('FLUSH drops everything at once and begins again at id 0, also after a crash', async () => {
  const storage = newDisk()
  const prng = prngFromSeed(5)
  const namespace = await openNamespace(engineContext(storage, prng, { segmentBytesMax: 500 }), 'sequential')
  for (let i = 0; i < 20; i++) namespace.put(Buffer.alloc(0), prng.bytes(100))
  const before = namespace.incarnation
  await namespace.flush()
  assert.notEqual(namespace.incarnation, before)
  assert.equal(namespace.put(Buffer.alloc(0), Buffer.from('first'))?.readUInt32LE(0), 0)
  assert.equal(namespace.info().entries, 1)
  await namespace.sync()
  await settled(namespace)
  await using after = await openNamespace(engineContext(storage.cut(prng), prng), 'sequential')
  assert.deepEqual([...(await contentsOf(after)).values()], [digest(Buffer.from('first'))])
  assert.equal(after.info().nextId, 1)
  await namespace[Symbol.asyncDispose]()
})

test('damage in a closed segment is an error of its entries alone; a lost hint is made again', async t => {
  const prng = seededPrng(t)
  const storage = newDisk()
  const values = Array.from({ length: 20 }, () => prng.bytes(100))
  {
    await using namespace = await openNamespace(engineContext(storage, prng), 'user')
    for (const [i, value] of values.entries()) namespace.put(Buffer.from(`key${i}`), value)
    namespace.jump()
    await settled(namespace)
  }
  const bytes = storage.bytesOf('/data/ns/d0')
  bytes[bytes.indexOf(values[7]!) + 5]! ^= 1
  storage.put('/data/ns/d0', bytes)
  const check = async (namespace: Namespace) => {
    for (const [i, value] of values.entries()) {
      const key = Buffer.from(`key${i}`)
      if (i !== 7) assert((await namespace.get(key, wait))?.equals(value))
    }
  }
  {
    await using namespace = await openNamespace(engineContext(storage, prng), 'user')
    await check(namespace)
    await assert.rejects(async () => namespace.get(Buffer.from('key7'), wait), SegmentUnavailable)
    assert.equal(await namespace.check(Buffer.from('key7')), 0)
  }
  storage.put('/data/ns/h0', Buffer.from('no hint'))
  await using namespace = await openNamespace(engineContext(storage, prng), 'user')
  await check(namespace)
  assert.equal(namespace.info().entries, 19)
})

test('a directory of 0-db opens, and goes on', async () => {
  const storage = newDisk()
  const hex =
    '44415430030000000000000000000000000000000000000000000000' +
    '05050000000000000 07bf7d8740000f1536568656c6c6f776f726c64'.replace(' ', '') +
    '0506000000 1c000000 c0b10bee 00 01f15365 68656c6c6f 574f524c4432'.replaceAll(' ', '') +
    '01 00000000 38000000 00000000 00 02f15365 6b'.replaceAll(' ', '')
  storage.makeDirectory('/data/ns')
  storage.put('/data/ns/d0', Buffer.from(hex, 'hex'))
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
  assert.equal(String(await namespace.get(Buffer.from('hello'), wait)), 'WORLD2')
  assert.equal(String(await namespace.get(Buffer.from('k'), wait)), '')
  namespace.put(Buffer.from('new'), Buffer.from('value'))
  assert.equal(namespace.info().activeSegmentId, 1)
})

test('kill -9 of a real process loses nothing that was answered; what was synced needs no luck', {
  timeout: 60_000,
}, async () => {
  await using directory = await temporaryDirectory()
  const program = join(import.meta.dirname, 'writer-process.ts')
  for (let round = 0; round < 3; round++) {
    await using writer = spawnProcess(process.execPath, [program, directory.path])
    await writer.waitForLine(new RegExp(`^${(round + 1) * 150}$`))
    await writer.kill9()
    const answered = Number(writer.stdout.trimEnd().split('\n').at(-1))
    const context = engineContext(new DiskStorage(), prngFromSeed(round))
    await using namespace = await Namespace.open(
      'ns',
      join(directory.path, 'ns'),
      settingsOf('sequential'),
      { pinned: false },
      context,
    )
    const { nextId } = namespace.info()
    assert(nextId >= answered, `${nextId} of ${answered}`)
    for (let id = 0; id < nextId; id++) {
      const key = Buffer.alloc(8)
      key.writeUInt32LE(id)
      assert.equal(String(await namespace.get(key, wait)), `value ${id} ${'x'.repeat(id % 500)}`)
    }
  }
})
