import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { SimulatedStorage } from '../../test/simulated-storage.ts'
import { makeDataDirectory } from './data-directory.ts'

test('a data directory is there after a power cut, and so is every directory made above it', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  storage.makeDirectory('/srv')
  await makeDataDirectory(storage, '/srv/qsfs/cache/data')
  for (let cut = 0; cut < 20; cut++) {
    const after = storage.cut(prng)
    assert.deepEqual(after.list('/srv/qsfs/cache'), [{ name: 'data', isDirectory: true, sizeBytes: 0 }])
  }
})

test('the name of one that an earlier start made, and was cut off before it synced it, is synced', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  storage.makeDirectory('/srv/data')
  await makeDataDirectory(storage, '/srv/data')
  for (let cut = 0; cut < 20; cut++) assert.equal(storage.cut(prng).list('/srv').length, 1)
})
