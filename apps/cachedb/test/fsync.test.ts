import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { type Knobs, pickKnobs } from './model/knobs.ts'
import { Life } from './model/life.ts'
import { SimulatedStore, wellBehaved } from './model/store.ts'
import { SimulatedStorage } from './simulated-storage.ts'

// What each value of the option `fsync` promises, by what a power cut leaves.

const writers = 50

async function started(storage: SimulatedStorage, fsync: Knobs['fsync']): Promise<Life> {
  storage.makeDirectory('/data')
  const quiet = { store: null, limitSegments: 0, compactBelow: 0, segmentBytesMax: 100_000 }
  const knobs = { ...pickKnobs(prngFromSeed(1)), ...quiet, fsync }
  const store = { objects: new SimulatedStore(), manners: wellBehaved }
  const life = await Life.start(storage, prngFromSeed(2), knobs, store, () => false)
  assert.equal(life!.connect('default', ''), null)
  return life!
}

/** How many keys a power cut now leaves. */
async function survivors(storage: SimulatedStorage, prng: Prng): Promise<number> {
  const life = await started(storage.cut(prng), 'on-request')
  return (await life.contentsOf('default')).size
}

function countSyncs(storage: SimulatedStorage): { count: number } {
  const syncs = { count: 0 }
  storage.onOperation = operation => {
    if (operation === 'sync-begun /data/default/d0') syncs.count++
  }
  return syncs
}

test(`always: ${writers} writers at once share their syncs, and what is answered is on disk`, async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  const life = await started(storage, 'always')
  const syncs = countSyncs(storage)
  for (let round = 1; round <= 5; round++) {
    // Several writers in this turn of the loop, the others while their sync is under way.
    const first = Array.from({ length: writers / 2 }, (_, n) =>
      life.send('default', 'SET', `${round} first ${n}`, 'value'),
    )
    await new Promise(resolve => setImmediate(resolve))
    const rest = Array.from({ length: writers / 2 }, (_, n) =>
      life.send('default', 'SET', `${round} rest ${n}`, 'value'),
    )
    await life.settled([...first, ...rest], () => false)
    for (const { error } of [...first, ...rest]) assert.equal(error, null)
    assert(syncs.count <= 3 * round, `${syncs.count} syncs for ${round * writers} answers`)
    assert.equal(await survivors(storage, prng), round * writers)
  }
})

test('always: no answer leaves before a sync that began behind its change has ended', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  const life = await started(storage, 'always')
  for (let number = 1; number <= 20; number++) {
    const answers = [life.send('default', 'SET', `key ${number}`, 'value')]
    // It comes while the first one's sync is under way, which does not count for it.
    for (let turns = prng.below(3); turns > 0; turns--) await new Promise(resolve => setImmediate(resolve))
    answers.push(life.send('default', 'SET', `late key ${number}`, 'value'))
    const late = answers[1]!
    let left = 0
    late.whenSettled(() => {
      const image = storage.cut(prng)
      left = image.bytesOf('/data/default/d0').indexOf(`late key ${number}`)
    })
    await life.settled(answers, () => false)
    assert(left > 0, 'it was answered and is not on disk')
  }
})

test('interval: each second what was written is synced without a request', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  const life = await started(storage, 'interval')
  for (let second = 1; second <= 3; second++) {
    await life.settled([life.send('default', 'SET', `key ${second}`, 'value')], () => false)
    await life.clock.advance(1_010)
    for (let turns = 0; turns < 10; turns++) await new Promise(resolve => setImmediate(resolve))
    assert.equal(await survivors(storage, prng), second)
  }
})

test('on-request: nothing is synced before FSYNC; what a power cut takes is a tail', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  const life = await started(storage, 'on-request')
  const syncs = countSyncs(storage)
  const set = async (number: number) =>
    life.settled([life.send('default', 'SET', `key ${String(number).padStart(4, '0')}`, 'value')], () => false)
  for (let number = 0; number < 300; number++) await set(number)
  await life.clock.advance(60_000)
  assert.equal(syncs.count, 0)
  for (let cut = 0; cut < 10; cut++) {
    const after = await started(storage.cut(prng), 'on-request')
    const keys = [...(await after.contentsOf('default')).keys()].map(key =>
      Number(Buffer.from(key, 'hex').toString().slice(4)),
    )
    assert.deepEqual(
      keys.sort((a, b) => a - b),
      keys.map((_, index) => index),
    )
  }
  await life.settled([life.send('default', 'FSYNC')], () => false)
  assert(syncs.count > 0)
  assert.equal(await survivors(storage, prng), 300)
})

test('a sync waits for the end of a segment that became full while an earlier sync of it was under way', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const openAppend = storage.openAppend.bind(storage)
  const gates: PromiseWithResolvers<void>[] = []
  storage.openAppend = path => {
    const file = openAppend(path)
    if (!path.endsWith('/d0')) return file
    const sync = file.sync.bind(file)
    file.sync = async () => {
      const gate = Promise.withResolvers<void>()
      gates.push(gate)
      await sync()
      await gate.promise
    }
    return file
  }
  const turns = async () => {
    for (let turn = 0; turn < 30; turn++) await new Promise(resolve => setImmediate(resolve))
  }
  const namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
  namespace.put(Buffer.from('a'), Buffer.from('value'))
  const first = namespace.sync()
  await turns()
  namespace.put(Buffer.from('b'), Buffer.from('value'))
  namespace.jump()
  gates[0]!.resolve()
  await first
  let isAnswered = false
  const second = namespace.sync().then(() => {
    isAnswered = true
  })
  await turns()
  assert.equal(gates.length, 2)
  assert(!isAnswered, 'b was called durable before the last sync of its segment had ended')
  gates[1]!.resolve()
  await second
  await namespace[Symbol.asyncDispose]()
})
