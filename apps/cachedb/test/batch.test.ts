import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { set } from '../src/commands/dataset.ts'
import { CacheFull } from '../src/errors.ts'
import type { Session } from '../src/session.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const none = Buffer.alloc(0)
const bytes = (text: string) => Buffer.from(text)

async function newNamespace(mode: 'user' | 'sequential', segmentBytesMax = 64 * 1024) {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const appends: string[] = []
  storage.onOperation = operation => {
    if (/^append .*\/d\d+ /.test(operation)) appends.push(operation)
  }
  const namespace = await openNamespace(engineContext(storage, prngFromSeed(1), { segmentBytesMax }), mode)
  appends.length = 0
  return { storage, appends, namespace }
}

/** The disk ends so many bytes from here, below what is kept free: the append itself meets the end. */
function endDiskAfter(storage: SimulatedStorage, moreBytes: number): void {
  Object.defineProperty(storage, 'freeBytes', { value: () => Number.POSITIVE_INFINITY })
  const usedBytes = storage.list('/data/ns').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  storage.capacityBytes = usedBytes + moreBytes
}

test('changes of one turn share one write, in their order; a restart finds them', async () => {
  const { storage, appends, namespace } = await newNamespace('user')
  const replies = [
    namespace.putInBatch(bytes('a'), bytes('1')),
    namespace.putInBatch(bytes('b'), bytes('2')),
    namespace.putInBatch(bytes('c'), none),
  ]
  assert.equal(appends.length, 0)
  assert.deepEqual(await Promise.all(replies), [bytes('a'), bytes('b'), bytes('c')])
  assert.equal(appends.length, 1)
  await using after = await openNamespace(engineContext(storage.kill(), prngFromSeed(1)), 'user')
  assert.deepEqual(await contentsOf(after), await contentsOf(namespace))
  assert.equal((await contentsOf(after)).size, 3)
  await namespace[Symbol.asyncDispose]()
})

test('whoever looks meanwhile sees what was executed before, and the kernel has it then', async () => {
  const { storage, namespace } = await newNamespace('user')
  const first = namespace.putInBatch(bytes('key'), bytes('first'))
  const second = namespace.putInBatch(bytes('key'), bytes('second'))
  assert.equal(String(await namespace.get(bytes('key'), { cold: 'wait' })), 'second')
  assert(storage.bytesOf('/data/ns/d0').includes('second'))
  const deleted = namespace.deleteInBatch(bytes('key'))
  assert.equal(namespace.stat(bytes('key')), null)
  const third = namespace.putInBatch(bytes('other'), bytes('third'))
  assert.equal(namespace.info().entries, 1)
  await Promise.all([first, second, deleted, third])
  await namespace[Symbol.asyncDispose]()
})

test('a key of the same turn is refused as any other', async () => {
  const { namespace } = await newNamespace('user')
  await namespace.update({ ...namespace.settings, worm: true, maxBytes: 10 })
  const put = namespace.putInBatch(bytes('a'), bytes('12345678'))
  assert.throws(() => namespace.putInBatch(bytes('a'), bytes('x')), /worm mode/)
  assert.throws(() => namespace.putInBatch(bytes('b'), bytes('xyz')), /No space left on this namespace/)
  await put
  await namespace[Symbol.asyncDispose]()
})

test('a large value goes at once, with what is before it', async () => {
  const { appends, namespace } = await newNamespace('sequential', 1024 * 1024)
  const small = namespace.putInBatch(none, bytes('small'))
  const large = namespace.putInBatch(none, Buffer.alloc(100_000, 1))
  assert(small instanceof Promise && large instanceof Buffer)
  assert.equal(appends.length, 1)
  assert.equal((await small)?.readUInt32LE(0), 0)
  assert.equal(large.readUInt32LE(0), 1)
  assert.equal(String(await namespace.get((await small)!, { cold: 'wait' })), 'small')
  await namespace[Symbol.asyncDispose]()
})

test('a write that fails refuses all of its batch, wherever it stopped: nothing of it happened', async () => {
  for (const room of [0, 1, 30, 150, 277]) {
    const { storage, namespace } = await newNamespace('sequential')
    const kept = namespace.put(none, bytes('kept'))!
    const before = { ...namespace.info(), file: storage.bytesOf('/data/ns/d0') }
    endDiskAfter(storage, room)
    const refused = [
      namespace.putInBatch(none, Buffer.alloc(100, 1)),
      namespace.deleteInBatch(kept),
      namespace.putInBatch(none, Buffer.alloc(100, 2)),
    ]
    for (const reply of refused) await assert.rejects(async () => reply, CacheFull)
    assert.deepEqual({ ...namespace.info(), file: storage.bytesOf('/data/ns/d0') }, before)
    storage.capacityBytes = Number.POSITIVE_INFINITY
    assert.equal((await namespace.putInBatch(none, bytes('next')))?.readUInt32LE(0), 1)
    await using after = await openNamespace(engineContext(storage.kill(), prngFromSeed(1)), 'sequential')
    assert.deepEqual([...(await contentsOf(after)).values()], [digest(bytes('kept')), digest(bytes('next'))])
    await namespace[Symbol.asyncDispose]()
  }
})

test('a full segment whose last batch cannot be written refuses the next value too: no id is skipped', async () => {
  const { storage, namespace } = await newNamespace('sequential', 600)
  endDiskAfter(storage, 100)
  const first = namespace.putInBatch(none, Buffer.alloc(400, 1))
  assert.throws(() => namespace.putInBatch(none, Buffer.alloc(400, 2)), CacheFull)
  await assert.rejects(async () => first, CacheFull)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  assert.equal((await namespace.putInBatch(none, bytes('next')))?.readUInt32LE(0), 0)
  await namespace[Symbol.asyncDispose]()
})

test('what is pending when a sync fails is salvaged or written behind it', async () => {
  const { storage, namespace } = await newNamespace('user')
  namespace.put(bytes('a'), bytes('1'))
  let failures = 1
  storage.failsSync = path => path.endsWith('/d0') && failures-- > 0
  const sync = namespace.sync()
  const replies = [namespace.putInBatch(bytes('b'), bytes('2')), namespace.putInBatch(bytes('c'), bytes('3'))]
  await Promise.all([sync, ...replies])
  await namespace.sync()
  await using after = await openNamespace(engineContext(storage.cut(prngFromSeed(3)), prngFromSeed(1)), 'user')
  assert.deepEqual([...(await contentsOf(after)).keys()].sort(), ['61', '62', '63'])
  await namespace[Symbol.asyncDispose]()
})

test('fsync = always: SETs of one turn share a write and a sync, and are answered behind it', async () => {
  const { storage, appends, namespace } = await newNamespace('user')
  const session = { hosted: { namespace }, server: { syncEachWrite: true } } as unknown as Session
  let syncs = 0
  const { onOperation } = storage
  storage.onOperation = operation => {
    onOperation(operation)
    if (/^sync-ended .*\/d\d+$/.test(operation)) syncs++
  }
  const replies = ['a', 'b', 'c'].map(async key => {
    await set(session, [bytes('SET'), bytes(key), bytes('value')])
    const found = storage.cut(prngFromSeed(2)).bytesOf('/data/ns/d0')
    assert(found.includes(`${key}value`), `${key} was answered before it was on disk`)
  })
  await Promise.all(replies)
  assert.deepEqual([appends.length, syncs], [1, 1])
  await namespace[Symbol.asyncDispose]()
})
