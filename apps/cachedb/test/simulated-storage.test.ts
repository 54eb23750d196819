import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { finishDrops } from '../src/engine/dropped.ts'
import { Namespaces } from '../src/engine/namespaces.ts'
import { engineContext } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const cutsPerState = 30

/** What power cuts now may leave of /data/ns: null, or the names in it. */
function found(storage: SimulatedStorage, prng: Prng): ReadonlySet<string> {
  const cuts = Array.from({ length: cutsPerState }, () => storage.cut(prng))
  return new Set(
    cuts.map(cut => {
      const isThere = cut.list('/data').some(({ name, isDirectory }) => name === 'ns' && isDirectory)
      const names = cut.list('/data/ns').map(({ name }) => name)
      assert.ok(isThere || cut.sizeBytes('/data/ns/a') === null, 'a file without its directory')
      return isThere ? `ns[${names.sort().join(' ')}]` : 'nothing'
    }),
  )
}

test('the simulated disk: a directory comes and goes with its name in the one above, and with all it holds', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  await storage.publish('/data/ns/a', [Buffer.from('a')])
  assert.deepEqual(found(storage, prng), new Set(['nothing', 'ns[a]']))
  await storage.syncDirectory('/data')
  assert.deepEqual(found(storage, prng), new Set(['ns[a]']))
  storage.removeDirectory('/data/ns')
  assert.deepEqual(found(storage, prng), new Set(['nothing', 'ns[]', 'ns[a]']))
  assert.deepEqual(found(storage.kill(), prng), new Set(['nothing', 'ns[]', 'ns[a]']))
  storage.makeDirectory('/data/ns')
  await storage.syncDirectory('/data')
  assert.deepEqual(found(storage, prng), new Set(['ns[]']))
})

test('a namespace made over a drop that a power cut interrupted anywhere is there after the next start', async t => {
  const prng = seededPrng(t)
  const open = async (storage: SimulatedStorage) => {
    const context = engineContext(storage, prng)
    await finishDrops('/data', context)
    return Namespaces.open({ dataDirectory: '/data', mode: 'mixed', pinned: new Set() }, context)
  }
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  await using namespaces = await open(storage)
  await namespaces.create('ns')
  const images: SimulatedStorage[] = []
  storage.onOperation = () => images.push(storage.cut(prng), storage.cut(prng), storage.cut(prng))
  await namespaces.drop('ns')
  storage.onOperation = () => undefined
  for (const image of images) {
    const after = await open(image)
    if (after.get('ns') === undefined) await after.create('ns')
    await using last = await open(image.cut(prng))
    assert.notEqual(last.get('ns'), undefined)
  }
})
