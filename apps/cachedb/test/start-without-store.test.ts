import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { Namespaces } from '../src/engine/namespaces.ts'
import { SegmentUnavailable } from '../src/errors.ts'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const objectId = '00112233445566778899aabbccddeeff'
const key = Buffer.from('key')
const wait = { cold: 'wait' } as const

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** Four namespaces with a stored segment each; `broken` lost its local file and its hint. */
async function world(broken: string, segmentMissing: (dataPath: string, bytes: Buffer) => Promise<void>) {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  let bytes: Buffer = Buffer.alloc(0)
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async () => objectId,
    segmentMissing: async ({ dataPath }) => segmentMissing(dataPath, bytes),
  }
  for (const name of ['default', 'a', 'b', 'c']) {
    await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1), { hooks }), 'user', { name })
    namespace.put(key, Buffer.from(name))
    namespace.jump()
    await turns(30)
    assert.equal(namespace.segments()[0]!.state, 'stored')
  }
  bytes = storage.bytesOf(`/data/${broken}/d0`)
  storage.remove(`/data/${broken}/d0`)
  storage.put(`/data/${broken}/h0`, Buffer.from('no hint'))
  const open = (clock: ManualClock, limitBytes = 0) =>
    Namespaces.open(
      { dataDirectory: '/data', mode: 'user', pinned: new Set() },
      engineContext(storage, prngFromSeed(2), { hooks, clock, limitBytes, segmentBytesMax: 10 }),
    )
  return { storage, open }
}

test('a cache that is full holds up no start that needs a segment', async () => {
  const { storage, open } = await world('b', async (dataPath, bytes) => storage.put(dataPath, bytes))
  let namespaces: Namespaces | null = null
  // One segment fits beside what is there: less than two.
  void open(new ManualClock(), storage.sizeBytes('/data/a/d0')! + 1).then(opened => {
    namespaces = opened
  })
  await turns(200)
  assert(namespaces !== null, 'the start hangs')
  await using opened: Namespaces = namespaces
  assert.equal(String(await opened.get('b')!.namespace.get(key, wait)), 'b')
})

test('a store that is down keeps the namespace that needs it, and no other; it opens when the store is back', async () => {
  let isDown = true
  const { storage, open } = await world('b', async (dataPath, bytes) => {
    if (isDown) throw new HookFailed('no backend answers')
    storage.put(dataPath, bytes)
  })
  const clock = new ManualClock()
  await using namespaces = await open(clock)
  for (const name of ['default', 'a', 'c'])
    assert.equal(String(await namespaces.get(name)!.namespace.get(key, wait)), name)
  const reason = /IOERR the namespace waits for the store: segment 0: restore failed 1 times: no backend answers/
  assert.throws(() => namespaces.get('b'), reason)
  await assert.rejects(namespaces.create('b'), reason)
  isDown = false
  for (let second = 0; second < 3; second++) {
    await clock.advance(1_000)
    await turns(30)
  }
  assert.equal(String(await namespaces.get('b')!.namespace.get(key, wait)), 'b')
})

test('a store that never answers: the others are served after a while', async () => {
  const { open } = await world('b', () => new Promise<never>(() => {}))
  const clock = new ManualClock()
  const opening = open(clock)
  await turns(30)
  await clock.advance(30_000)
  await turns(30)
  await using namespaces = await opening
  assert.throws(() => namespaces.get('b'), /waits for the store: its segments are being fetched/)
  assert.equal(String(await namespaces.get('c')!.namespace.get(key, wait)), 'c')
})

test('without the default namespace nobody is served', async () => {
  const { open } = await world('default', async () => {
    throw new HookFailed('no backend answers')
  })
  await assert.rejects(open(new ManualClock()), SegmentUnavailable)
})
