import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Clock, systemClock } from '@qsfs/concurrency/clock'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import type { KeyMode, Namespace } from '../src/engine/namespace.ts'
import { engineContext, type FixtureOptions, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const modes: readonly KeyMode[] = ['user', 'sequential']
const nothing = Buffer.alloc(0)

function newDisk(): SimulatedStorage {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  return storage
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

async function walk(namespace: Namespace, { budgetMs = 1_000, backward = false } = {}): Promise<string[]> {
  const seen: string[] = []
  for (let page = await namespace.scan(null, budgetMs, { backward }); page !== null; ) {
    assert(page.entries.length > 0)
    assert.equal(page.cursor.length, 17)
    seen.push(...page.entries.map(({ key }) => key.toString('hex')))
    page = await namespace.scan(page.cursor, budgetMs, { backward })
  }
  return seen
}

/** Random writes, and the live keys in the order of their last write. */
function write(namespace: Namespace, mode: KeyMode, count: number, prng: ReturnType<typeof prngFromSeed>): string[] {
  const live = new Map<string, Buffer>()
  const random = (below: number) => prng.bytes(4).readUInt32LE(0) % below
  for (let i = 0; i < count; i++) {
    const keys = [...live.values()]
    const old = keys.length > 0 && random(10) < 4 ? keys[random(keys.length)]! : null
    if (old !== null && random(2) === 0) {
      namespace.delete(old)
      live.delete(old.toString('hex'))
      continue
    }
    const wanted = old ?? (mode === 'user' ? prng.bytes(1 + random(40)) : nothing)
    const key = namespace.put(wanted, prng.bytes(8 + random(30)))!
    live.delete(key.toString('hex'))
    live.set(key.toString('hex'), Buffer.from(key))
  }
  return [...live.keys()]
}

for (const mode of modes) {
  test(`${mode} keys: SCAN and RSCAN give all that lives once, in append order, over jumps and a restart`, async t => {
    const prng = seededPrng(t)
    const storage = newDisk()
    const options: FixtureOptions = { segmentBytesMax: 2048 }
    const namespace = await openNamespace(engineContext(storage, prng, options), mode)
    // Empty segments in the middle, and an empty open one.
    const expected = write(namespace, mode, 150, prng)
    namespace.jump()
    namespace.jump()
    const later = write(namespace, mode, 150, prng)
    namespace.jump()
    const all = [...expected, ...later]
    for (const budgetMs of [0, 1_000]) {
      assert.deepEqual(await walk(namespace, { budgetMs }), all)
      assert.deepEqual(await walk(namespace, { budgetMs, backward: true }), all.toReversed())
    }
    await namespace[Symbol.asyncDispose]()
    await using again = await openNamespace(engineContext(storage.kill(), prng, options), mode)
    assert.deepEqual(await walk(again), all)
    assert.deepEqual(await walk(again, { backward: true }), all.toReversed())
  })
}

test('a hint of many pages is walked as one of few', async t => {
  const prng = seededPrng(t)
  const storage = newDisk()
  await using namespace = await openNamespace(engineContext(storage, prng, { segmentBytesMax: 400_000 }), 'user')
  const keys = Array.from({ length: 9_000 }, (_, i) => Buffer.from(`key ${i} ${'x'.repeat(i % 50)}`))
  for (const key of keys) namespace.put(key, nothing)
  const expected = keys.map(key => key.toString('hex'))
  assert(namespace.segments().length > 1)
  for (const closed of [false, true]) {
    if (closed) namespace.jump()
    await turns(20)
    assert.deepEqual(await walk(namespace), expected)
    assert.deepEqual(await walk(namespace, { backward: true }), expected.toReversed())
    for (const at of [0, 1, 2_999, 4_500, 8_998]) {
      const cursor = await namespace.walks.cursorOf(keys[at]!)
      assert.equal((await namespace.scan(cursor, 0))!.entries[0]!.key.toString('hex'), expected[at + 1])
      const before = await namespace.scan(cursor, 0, { backward: true })
      assert.equal(before?.entries[0]?.key.toString('hex'), expected[at - 1])
    }
  }
})

/** A namespace of one live key, thousands of dead entries, and another live key; each look at the clock takes 10 µs. */
async function deadStretch(): Promise<Namespace> {
  let elapsedMs = 0
  const clock: Clock = { ...systemClock, monotonicMs: () => (elapsedMs += 0.01) }
  const namespace = await openNamespace(
    engineContext(newDisk(), prngFromSeed(1), { clock, segmentBytesMax: 1e6 }),
    'user',
  )
  namespace.put(Buffer.from('first'), nothing)
  for (let i = 0; i < 5_000; i++) namespace.put(Buffer.from('same'), Buffer.from(String(i)))
  namespace.delete(Buffer.from('same'))
  namespace.put(Buffer.from('last'), nothing)
  return namespace
}

test('over a long dead stretch the loop goes on turning, and what comes behind it is found', async () => {
  await using namespace = await deadStretch()
  for (const [from, to, backward] of [
    ['first', 'last', false],
    ['last', 'first', true],
  ] as const) {
    let turnCount = 0
    let isWalking = true
    const count = async () => {
      for (; isWalking; turnCount++) await turns(1)
    }
    const counting = count()
    const page = await namespace.scan(await namespace.walks.cursorOf(Buffer.from(from)), 1, { backward })
    isWalking = false
    await counting
    assert.deepEqual(
      page?.entries.map(({ key }) => String(key)),
      [to],
    )
    assert(turnCount >= 50, `${turnCount} turns`)
  }
})

test('a scan whose namespace is closed meanwhile fails: it has not seen everything', async () => {
  const namespace = await deadStretch()
  const scan = namespace.scan(await namespace.walks.cursorOf(Buffer.from('first')), 0)
  await Promise.all([namespace[Symbol.asyncDispose](), assert.rejects(scan, /the namespace was closed/)])
})

test('RSCAN holds compaction until the client has not asked for a while, or has gone on for too long', async () => {
  const clock = new ManualClock()
  await using namespace = await openNamespace(engineContext(newDisk(), prngFromSeed(1), { clock }), 'user')
  const { walks } = namespace
  for (const name of ['a', 'b']) namespace.put(Buffer.from(name), nothing)
  assert(!walks.isCompactionHeld)
  const page = await walks.backward(null, 0)
  assert(walks.isCompactionHeld)
  const end = await walks.backward(page!.cursor, 0)
  assert(walks.isCompactionHeld)
  await clock.advance(9_000)
  assert.equal(await walks.backward(end!.cursor, 0), null)
  assert(walks.isCompactionHeld)
  await clock.advance(1_000)
  assert(!walks.isCompactionHeld)
  const held: boolean[] = []
  for (let minute = 0; minute < 30; minute++) {
    for (let call = 0; call < 12; call++) {
      await walks.backward(null, 0)
      await clock.advance(5_000)
    }
    held.push(walks.isCompactionHeld)
  }
  const tenTimes = (isHeld: boolean) => Array.from({ length: 10 }, () => isHeld)
  assert.deepEqual(held.slice(0, 9), tenTimes(true).slice(1))
  assert.deepEqual(held.slice(10, 19), tenTimes(false).slice(1))
  assert.deepEqual(held.slice(20, 29), tenTimes(true).slice(1))
})

describe('cursors', () => {
  for (const mode of modes) {
    test(`of ${mode} keys outlive a deletion, a jump and a restart; forged ones are refused`, async () => {
      const storage = newDisk()
      const namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), mode)
      const keyOf = (name: string) => (mode === 'user' ? Buffer.from(name) : nothing)
      const keys = ['a', 'b', 'c'].map(name => namespace.put(keyOf(name), Buffer.from(`value of ${name}`))!)
      const cursor = await namespace.walks.cursorOf(keys[1]!)
      const next = async (by: Namespace) => (await by.scan(cursor, 1_000))!.entries.map(({ key }) => String(key))
      assert.deepEqual(await next(namespace), [String(keys[2])])
      namespace.delete(keys[1]!)
      namespace.jump()
      assert.deepEqual(await next(namespace), [String(keys[2])])
      await namespace[Symbol.asyncDispose]()
      await using again = await openNamespace(engineContext(storage.kill(), prngFromSeed(2)), mode)
      assert.deepEqual(await next(again), [String(keys[2])])
      for (let byte = 0; byte < 17; byte++) {
        for (const change of [1, 0x80, 0xff]) {
          const forged = Buffer.from(cursor)
          forged[byte]! ^= change
          for (const backward of [false, true])
            await assert.rejects(again.scan(forged, 1, { backward }), { message: 'Invalid key format' }, `${byte}`)
        }
      }
      for (const bytes of [nothing, Buffer.alloc(16), Buffer.alloc(17), Buffer.alloc(17, 0xff), Buffer.alloc(18)])
        await assert.rejects(again.scan(bytes, 1), { message: 'Invalid key format' })
    })
  }

  test('of a sequential id end with its update, of a user key they do not', async () => {
    for (const mode of modes) {
      await using namespace = await openNamespace(engineContext(newDisk(), prngFromSeed(1)), mode)
      const key = namespace.put(mode === 'user' ? Buffer.from('key') : nothing, Buffer.from('one'))!
      const cursor = await namespace.walks.cursorOf(key)
      namespace.put(key, Buffer.from('two'))
      if (mode === 'user') assert.equal((await namespace.scan(cursor, 1))!.entries.length, 1)
      else await assert.rejects(namespace.scan(cursor, 1), { message: 'Invalid key format' })
    }
  })

  test('into a segment that is gone go on behind it', async () => {
    await using namespace = await openNamespace(engineContext(newDisk(), prngFromSeed(1)), 'user')
    for (const name of ['a', 'b']) namespace.put(Buffer.from(name), nothing)
    const cursor = await namespace.walks.cursorOf(Buffer.from('b'))
    namespace.jump()
    for (const name of ['b', 'a']) namespace.put(Buffer.from(name), Buffer.from('new'))
    await namespace.sync()
    await turns(40)
    assert.deepEqual(
      namespace.segments().map(({ id }) => id),
      [1],
    )
    assert.deepEqual(
      (await namespace.scan(cursor, 1_000))!.entries.map(({ key }) => String(key)),
      ['b', 'a'],
    )
    assert.equal(await namespace.scan(cursor, 1_000, { backward: true }), null)
  })
})

test('KSCAN gives the live keys with a prefix, up to a size', async () => {
  await using namespace = await openNamespace(
    engineContext(newDisk(), prngFromSeed(1), { segmentBytesMax: 300 }),
    'user',
  )
  for (let i = 0; i < 40; i++) namespace.put(Buffer.from(`${i % 2 ? 'odd' : 'even'} ${i}`), Buffer.from('value'))
  namespace.delete(Buffer.from('odd 3'))
  const keys = (await namespace.walks.keysWith(Buffer.from('odd'), 1e6)).map(String)
  assert.deepEqual(
    keys,
    Array.from({ length: 20 }, (_, i) => `odd ${2 * i + 1}`).filter(key => key !== 'odd 3'),
  )
  assert.deepEqual(await namespace.walks.keysWith(Buffer.from('none'), 1e6), [])
  await assert.rejects(namespace.walks.keysWith(Buffer.from('odd'), 1_000), {
    message: 'ERR reply would be over 1000 bytes',
  })
})

/** A store that keeps everything in memory. */
function storing(storage: SimulatedStorage): Hooks {
  const objects = new Map<string, Buffer>()
  return {
    ...noHooks,
    configured: true,
    segmentClosed: async ({ dataPath }) => {
      objects.set(dataPath, storage.bytesOf(dataPath))
      return '00112233445566778899aabbccddeeff'
    },
    segmentMissing: async ({ dataPath }) => storage.put(dataPath, objects.get(dataPath)!),
  }
}

describe('HISTORY', () => {
  /** All versions, newest first. */
  async function versions(namespace: Namespace, key: Buffer): Promise<string[]> {
    const found: string[] = []
    for (let position: Buffer | null = null; ; ) {
      const { older, value, timestampSeconds } = await namespace.history.read(key, position)
      found.push(`${value} ${timestampSeconds}`)
      if (older === null) return found
      position = older
    }
  }

  for (const mode of modes) {
    test(`of ${mode} keys goes back over segments to where the key was made`, async () => {
      const storage = newDisk()
      const context = () => engineContext(storage, prngFromSeed(1), { hooks: storing(storage), segmentBytesMax: 200 })
      const namespace = await openNamespace(context(), mode)
      const key = Buffer.from(namespace.put(mode === 'user' ? Buffer.from('key') : nothing, Buffer.from('v0'), 100)!)
      for (let i = 1; i < 12; i++) {
        // Other keys between, so that each segment keeps something alive.
        namespace.put(mode === 'user' ? Buffer.from(`other ${i}`) : nothing, Buffer.from('other'))
        namespace.put(key, Buffer.from(`v${i}`), 100)
      }
      const expected = Array.from({ length: 12 }, (_, i) => `v${11 - i} 100`)
      assert.deepEqual(await versions(namespace, key), expected)
      await turns(60)
      assert.equal(namespace.segments()[0]!.state, 'stored')
      const { older } = await namespace.history.read(key, null)
      namespace.delete(key)
      await assert.rejects(namespace.history.read(key, null), { message: 'Key not found' })
      assert.equal(String((await namespace.history.read(key, older)).value), 'v10', 'of a key that was deleted')
      await namespace[Symbol.asyncDispose]()
    })
  }

  test('comes back from absent segments', async () => {
    const storage = newDisk()
    const hooks = storing(storage)
    const open = () => openNamespace(engineContext(storage, prngFromSeed(1), { hooks }), 'user')
    const key = Buffer.from('key')
    {
      await using namespace = await open()
      namespace.put(Buffer.from('keeps the segment'), nothing)
      namespace.put(key, Buffer.from('old'))
      namespace.jump()
      namespace.put(key, Buffer.from('new'))
      await turns(40)
    }
    storage.remove('/data/ns/d0')
    await using namespace = await open()
    assert.equal(namespace.segments()[0]!.state, 'absent')
    const { older, value } = await namespace.history.read(key, null)
    assert.equal(String(value), 'new')
    assert.equal(String((await namespace.history.read(key, older)).value), 'old')
    assert.equal(namespace.segments()[0]!.state, 'stored')
  })

  test('is not linked over a deletion; what is no position is refused', async () => {
    await using namespace = await openNamespace(engineContext(newDisk(), prngFromSeed(1)), 'user')
    const key = Buffer.from('key')
    namespace.put(key, Buffer.from('one'))
    namespace.put(Buffer.from('other'), Buffer.from('x'))
    namespace.delete(key)
    namespace.put(key, Buffer.from('two'))
    namespace.put(key, Buffer.from('three'))
    const { older } = await namespace.history.read(key, null)
    assert.deepEqual(await namespace.history.read(key, older).then(({ older: next, value }) => [next, String(value)]), [
      null,
      'two',
    ])
    const place = (segmentId: number, offsetBytes: number) => {
      const position = Buffer.alloc(8)
      position.writeUInt32LE(segmentId, 0)
      position.writeUInt32LE(offsetBytes, 4)
      return position
    }
    for (const [position, message] of [
      [nothing, 'Invalid arguments'],
      [Buffer.alloc(7), 'Invalid arguments'],
      [Buffer.alloc(8), 'No more history'],
      [place(0, 1), 'Invalid arguments (index query)'],
      [place(0, 29), 'Invalid arguments (index query)'],
      [place(0, 28 + 24 + 24), 'Invalid arguments (index query)'],
      [place(7, 28), 'Invalid arguments (index query)'],
      [Buffer.alloc(8, 0xff), 'Invalid arguments (index query)'],
      [place(0, 28 + 24), 'Invalid arguments (invalid key)'],
    ] as const)
      await assert.rejects(namespace.history.read(key, position), { message }, position.toString('hex'))
  })
})
