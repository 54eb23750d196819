import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../../src/engine/hooks/hooks.ts'
import { decodeId, encodeId } from '../../src/engine/keydir/keydir-sequential.ts'
import { type KeyMode, Namespace } from '../../src/engine/namespace.ts'
import { exportNamespace } from '../../src/engine/zdb/export.ts'
import { SegmentUnavailable } from '../../src/errors.ts'
import { engineContext, openNamespace, settingsOf } from '../engine-fixture.ts'
import { SimulatedStorage } from '../simulated-storage.ts'
import { sequentialNamespace, userNamespace } from './golden.ts'
import { readZdb } from './zdb-reader.ts'

type Model = Map<string, { value: string; timestampSeconds: number }>

const none = Buffer.alloc(0)
const fileBytesMax = 2_000

async function exported(namespace: Namespace, storage: SimulatedStorage) {
  await exportNamespace(namespace, { storage, dataRoot: '/x/data', indexRoot: '/x/index', fileBytesMax, nowSeconds: 5 })
  return readZdb(name => {
    const path = `/x/${name.startsWith('d') ? 'data' : 'index'}/ns/${name}`
    return storage.sizeBytes(path) === null ? null : storage.bytesOf(path)
  })
}

/** Random changes, told to a model. */
async function live(namespace: Namespace, prng: ReturnType<typeof seededPrng>): Promise<Model> {
  const model: Model = new Map()
  const isSequential = namespace.settings.mode === 'sequential'
  for (let step = 0; step < 400; step++) {
    const known = [...model.keys()]
    const timestampSeconds = 1_700_000_000 + step
    const value = prng.bytes(prng.below(200))
    if (known.length > 0 && prng.chance(0.25)) {
      const key = prng.pick(known)
      await namespace.delete(Buffer.from(key, 'hex'), timestampSeconds)
      model.delete(key)
    } else if (prng.chance(0.03)) namespace.jump()
    else {
      const isUpdate = known.length > 0 && prng.chance(0.3)
      const fresh = isSequential ? none : Buffer.from(`key ${prng.below(10_000)}`)
      const key = await namespace.put(isUpdate ? Buffer.from(prng.pick(known), 'hex') : fresh, value, timestampSeconds)
      if (key !== null) model.set(key.toString('hex'), { value: value.toString('latin1'), timestampSeconds })
    }
  }
  return model
}

for (const mode of ['user', 'sequential'] as const satisfies readonly KeyMode[]) {
  test(`what is exported of a ${mode} namespace is what 0-db serves, and can be taken over again`, async t => {
    const prng = seededPrng(t)
    const storage = new SimulatedStorage()
    const settings = { ...settingsOf(mode), maxBytes: 77, worm: false, public: false, password: 'p\xe9' }
    await using namespace = await Namespace.open(
      'ns',
      '/data/ns',
      settingsOf(mode),
      { pinned: false },
      engineContext(storage, prng),
    )
    const model = await live(namespace, prng)
    await namespace.update(settings)
    const { nextId } = namespace.info()
    const found = await exported(namespace, storage)
    assert.equal(found.mode, mode)
    assert.deepEqual(new Map([...found.values].sort()), new Map([...model].sort()))
    if (mode === 'sequential') {
      assert.equal(found.nextId, nextId)
      for (const key of found.values.keys()) assert.ok(decodeId(Buffer.from(key, 'hex'))! < nextId)
    }
    assert.ok(found.files > 1)
    assert.equal(found.descriptor.toString('latin1', 15), 'nsp\xe9')
    for (let id = 0; id < found.files; id++) assert.ok(storage.sizeBytes(`/x/data/ns/d${id}`)! <= fileBytesMax)

    // With its index and without, in which a mode must be found again.
    for (const indexRoot of ['/x/index', null]) {
      const copy = storage.kill()
      const context = engineContext(copy, prngFromSeed(3))
      const zdb = { indexRoot, mode: null }
      await using again = await Namespace.open('ns', '/x/data/ns', settingsOf('user'), { pinned: false, zdb }, context)
      assert.equal(again.info().entries, model.size)
      assert.equal(again.settings.mode, mode)
      if (mode === 'sequential') assert.equal(again.info().nextId, nextId)
      if (indexRoot !== null) assert.deepEqual({ ...again.settings }, { ...settings })
    }
  })
}

test('what 0-db wrote comes out as it went in', async () => {
  for (const [files, keys] of [
    [userNamespace, ['6b', '6e']],
    [sequentialNamespace, [encodeId(0).toString('hex'), encodeId(3).toString('hex')]],
  ] as const) {
    const storage = new SimulatedStorage()
    for (const directory of ['/data', '/data/ns', '/index', '/index/ns']) storage.makeDirectory(directory)
    for (const [name, bytes] of Object.entries(files))
      storage.put(`${name.startsWith('d') ? '/data' : '/index'}/ns/${name}`, bytes)
    const zdb = { indexRoot: '/index', mode: null }
    const context = engineContext(storage, prngFromSeed(1))
    await using namespace = await Namespace.open('ns', '/data/ns', settingsOf('user'), { pinned: false, zdb }, context)
    const { values, nextId } = await exported(namespace, storage)
    assert.deepEqual([...values.keys()], keys)
    if (files === sequentialNamespace) assert.equal(nextId, 4)
  }
})

test('an empty namespace has one file of each kind, without entries', async () => {
  const storage = new SimulatedStorage()
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'sequential')
  const { files, nextId } = await exported(namespace, storage)
  assert.deepEqual([files, nextId], [1, 0])
})

test('absent segments are brought back for it; without a store the export fails', async () => {
  const storage = new SimulatedStorage()
  let stored: Buffer | null = null
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async ({ dataPath }) => {
      stored = storage.bytesOf(dataPath)
      return '00112233445566778899aabbccddeeff'
    },
  }
  {
    await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1), { hooks }), 'user')
    await namespace.put(Buffer.from('cold'), Buffer.from('value'), 7)
    namespace.jump()
    while (namespace.segments()[0]!.state !== 'stored') await new Promise(resolve => setImmediate(resolve))
  }
  storage.remove('/data/ns/d0')
  {
    await using namespace = await openNamespace(engineContext(storage, prngFromSeed(2)), 'user')
    await assert.rejects(exported(namespace, storage), SegmentUnavailable)
  }
  const fetching: Hooks = {
    ...noHooks,
    segmentMissing: async ({ dataPath }) => {
      if (stored === null) throw new HookFailed('nothing was stored')
      storage.put(dataPath, stored)
    },
  }
  storage.removeDirectory('/x')
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(3), { hooks: fetching }), 'user')
  const { values } = await exported(namespace, storage)
  assert.deepEqual([...values.values()], [{ value: 'value', timestampSeconds: 7 }])
})
