import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

// What a start takes off is kept beside the files, and said.

async function filled(): Promise<SimulatedStorage> {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
  for (let i = 0; i < 5; i++) {
    namespace.put(Buffer.from(`key${i}`), Buffer.from(`value ${i}`))
    namespace.jump()
    await namespace.sync()
  }
  return storage
}

test('a manifest damaged in the middle is refused, and nothing is touched', async () => {
  const storage = await filled()
  const manifest = Buffer.from(storage.bytesOf('/data/ns/manifest'))
  manifest[Math.floor(manifest.length / 2)]! ^= 1
  storage.put('/data/ns/manifest', manifest)
  const shown = () => storage.list('/data/ns').map(({ name }) => [name, storage.bytesOf(`/data/ns/${name}`)])
  const before = shown()
  await assert.rejects(openNamespace(engineContext(storage, prngFromSeed(2)), 'user'), /on disk/)
  assert.deepEqual(shown(), before)
})

test('a manifest torn in the middle costs no byte: its rest and the segments it named are kept aside', async () => {
  const storage = await filled()
  const before = new Map(storage.list('/data/ns').map(({ name }) => [name, storage.bytesOf(`/data/ns/${name}`)]))
  const manifest = Buffer.from(before.get('manifest')!).fill(0xa5, Math.floor(before.get('manifest')!.length / 2))
  storage.put('/data/ns/manifest', manifest)
  const logged: string[] = []
  const context = engineContext(storage, prngFromSeed(2))
  const log = {
    ...context.log,
    error: (name: string) => void logged.push(name),
    warn: (name: string) => void logged.push(name),
  }
  await using namespace = await openNamespace({ ...context, log }, 'user')
  const kept = storage.list('/data/ns').filter(({ name }) => name.startsWith('cut-'))
  const rest = kept.find(({ name }) => name.startsWith('cut-manifest-'))!
  assert(manifest.subarray(-rest.sizeBytes).equals(storage.bytesOf(`/data/ns/${rest.name}`)))
  const known = new Set(namespace.segments().map(({ id }) => id))
  for (let id = 0; id < 5; id++) {
    const file = known.has(id) && namespace.info().activeSegmentId !== id ? `d${id}` : `cut-d${id}-0`
    assert(storage.bytesOf(`/data/ns/${file}`).equals(before.get(`d${id}`)!), file)
  }
  assert(logged.includes('manifest.cut') && logged.includes('segment.unknown'), logged.join())
  assert.equal(namespace.info().cutFiles, kept.length)
  assert.equal(
    namespace.info().cutBytes,
    kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  )
})

test('cuts are counted as long as they lie there, and said at each start', async () => {
  const storage = await filled()
  storage.put('/data/ns/cut-d7-100', Buffer.alloc(50))
  const context = engineContext(storage, prngFromSeed(2))
  const logged: string[] = []
  const log = { ...context.log, warn: (name: string) => void logged.push(name) }
  {
    await using namespace = await openNamespace({ ...context, log }, 'user')
    assert.deepEqual([namespace.info().cutFiles, namespace.info().cutBytes], [1, 50])
    assert.deepEqual(logged, ['namespace.cuts_kept'])
  }
  storage.remove('/data/ns/cut-d7-100')
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(3)), 'user')
  assert.equal(namespace.info().cutFiles, 0)
})
