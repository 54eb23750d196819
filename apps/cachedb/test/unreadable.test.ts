import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { SegmentUnavailable } from '../src/errors.ts'
import { type ReadFile, StorageError } from '../src/segment/storage.ts'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const key = Buffer.from('key')
const wait = { cold: 'wait' } as const
const failure = () => {
  throw new StorageError('/data/ns/d0: EIO')
}

/** How the disk refuses to show a file. */
const refusals = {
  'cannot be opened': (storage: SimulatedStorage) => {
    const openRead = storage.openRead.bind(storage)
    storage.openRead = path => (path.endsWith('/d0') ? failure() : openRead(path))
  },
  'cannot be read': (storage: SimulatedStorage) => {
    const openRead = storage.openRead.bind(storage)
    const unreadable = (file: ReadFile): ReadFile => ({ ...file, read: async () => failure(), readSync: failure })
    storage.openRead = path => (path.endsWith('/d0') ? unreadable(openRead(path)) : openRead(path))
  },
  'cannot be read while it is open': (storage: SimulatedStorage) => {
    const openAppend = storage.openAppend.bind(storage)
    storage.openAppend = path => Object.assign(openAppend(path), path.endsWith('/d0') ? { readSync: failure } : {})
  },
} as const

for (const [refusal, refuse] of Object.entries(refusals)) {
  test(`a file that ${refusal}: GET says so, CHECK answers -1, SET writes the value as a new one`, async () => {
    const storage = new SimulatedStorage()
    storage.makeDirectory('/data')
    refuse(storage)
    await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user')
    namespace.put(key, Buffer.from('old'))
    await namespace.sync()
    if (!refusal.endsWith('open')) namespace.jump()
    for (let turn = 0; turn < 30; turn++) await new Promise(resolve => setImmediate(resolve))
    assert.equal(namespace.segments()[0]!.state, refusal.endsWith('open') ? 'open' : 'closed')
    await assert.rejects(async () => namespace.get(key, wait), SegmentUnavailable)
    assert.equal(await namespace.check(key), -1)
    assert(namespace.put(key, Buffer.from('old'))?.equals(key), 'of the same length, and as it was')
    if (refusal.endsWith('open')) namespace.jump()
    namespace.put(key, Buffer.from('new'))
    assert.equal(String(await namespace.get(key, wait)), 'new')
  })
}
