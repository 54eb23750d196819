import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import type { KeyMode, Namespace } from '../src/engine/namespace.ts'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const nothing = Buffer.alloc(0)

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** Sparse segments, of which compaction makes fewer when the clock goes on: each holds some live keys. */
async function sparse(mode: KeyMode, prng: Prng) {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const clock = new ManualClock()
  const context = engineContext(storage, prng, { clock, segmentBytesMax: 2048, compactBelow: 0.9 })
  const namespace = await openNamespace(context, mode)
  const keys: Buffer[] = []
  for (let i = 0; i < 120; i++)
    keys.push(Buffer.from(namespace.put(mode === 'user' ? Buffer.from(`key ${i}`) : nothing, prng.bytes(50), 1)!))
  for (const [i, key] of keys.entries()) if (i % 3 === 0) namespace.put(key, prng.bytes(50), 2)
  for (const [i, key] of keys.entries()) if (i % 3 === 1) namespace.delete(key)
  await namespace.sync()
  await turns(30)
  return { namespace, clock, keys, live: keys.filter((_, i) => i % 3 !== 1) }
}

async function compacted({ namespace, clock }: { namespace: Namespace; clock: ManualClock }): Promise<void> {
  const before = namespace.segments().length
  for (let second = 0; second < 60; second++) {
    await clock.advance(1_000)
    await turns(5)
  }
  assert(namespace.segments().length < before, 'some segments went')
}

for (const mode of ['user', 'sequential'] as const) {
  test(`${mode} keys: RSCAN holds compaction, and sees each live key once`, async t => {
    const world = await sparse(mode, seededPrng(t))
    await using namespace = world.namespace
    const seen: string[] = []
    const ids = () => namespace.segments().map(({ id }) => id)
    const idsBefore = ids()
    for (let page = await namespace.scan(null, 0, { backward: true }); page !== null; ) {
      seen.push(...page.entries.map(({ key }) => key.toString('hex')))
      // As long as the client goes on, nothing moves.
      await world.clock.advance(5_000)
      await turns(5)
      assert.deepEqual(ids(), idsBefore)
      page = await namespace.scan(page.cursor, 0, { backward: true })
    }
    assert.deepEqual(seen.toSorted(), world.live.map(key => key.toString('hex')).toSorted())
    await compacted(world)
  })

  test(`${mode} keys: SCAN sees each live key at least once while compaction moves them`, async t => {
    const world = await sparse(mode, seededPrng(t))
    await using namespace = world.namespace
    const seen = new Set<string>()
    for (let page = await namespace.scan(null, 0); page !== null; page = await namespace.scan(page.cursor, 0)) {
      for (const { key } of page.entries) seen.add(key.toString('hex'))
      await world.clock.advance(1_000)
      await turns(3)
    }
    assert.deepEqual([...seen].toSorted(), world.live.map(key => key.toString('hex')).toSorted())
  })

  test(`${mode} keys: HISTORY ends where compaction dropped what is older; a copy is no version`, async t => {
    const world = await sparse(mode, seededPrng(t))
    await using namespace = world.namespace
    const [updated, written] = [world.keys[0]!, world.keys[2]!]
    const { older } = await namespace.history.read(updated, null)
    assert.equal((await namespace.history.read(updated, older)).timestampSeconds, 1)
    await compacted(world)
    for (const [key, timestampSeconds] of [
      [updated, 2],
      [written, 1],
    ] as const) {
      const version = await namespace.history.read(key, null)
      assert.deepEqual([version.older, version.timestampSeconds], [null, timestampSeconds])
    }
    await assert.rejects(namespace.history.read(updated, older), { message: 'Invalid arguments (index query)' })
  })
}

test('a SCAN or KSCAN goes on behind a segment that compaction takes away under it', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const clock = new ManualClock()
  const context = engineContext(storage, prng, { clock, segmentBytesMax: 1024 * 1024, compactBelow: 0.9 })
  await using namespace = await openNamespace(context, 'user')
  // The hint has several pages, and nothing lives in the first ones.
  const keys = Array.from({ length: 800 }, (_, n) => Buffer.from(String(n).padStart(250, 'k')))
  for (const key of keys) namespace.put(key, prng.bytes(10))
  for (const key of keys.slice(0, -1)) namespace.delete(key)
  namespace.jump()
  await turns(30)
  const live = keys.at(-1)!
  const scanned = namespace.scan(null, 0)
  const listed = namespace.walks.keysWith(Buffer.from('k'), 1_000_000)
  const [first] = namespace.segments()
  await compacted({ namespace, clock })
  assert.notEqual(namespace.segments()[0]!.id, first!.id)
  assert.deepEqual(
    (await scanned)?.entries.map(({ key }) => key),
    [live],
  )
  assert.deepEqual(await listed, [live])
})
