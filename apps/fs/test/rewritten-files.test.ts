import assert from 'node:assert'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import type { VolumeLimits } from '../src/ops/volume.ts'
import { MemoryStore } from '../src/store/memory-store.ts'
import { Driver } from './driver.ts'

/** The file as a crash right now leaves it. */
async function afterCrash(store: MemoryStore, path: string): Promise<string> {
  await using driver = await Driver.mount(store.copy())
  const { sizeBytes } = await driver.stat(path)
  return (await driver.read(path, 0, sizeBytes)).toString()
}

async function withOldFile(limits: Partial<VolumeLimits> = {}) {
  const store = new MemoryStore()
  const clock = new ManualClock()
  const driver = await Driver.mount(store, limits, clock)
  await driver.create('file')
  await driver.create('other')
  await driver.write('file', 0, Buffer.from('the old bytes'))
  await driver.fsync('file')
  return { store, driver, clock }
}

test('a file that is cut and written anew is the old one or the new one after a crash', async () => {
  const { store, driver } = await withOldFile()
  await using _driver = driver
  await driver.truncate('file', 0)
  await driver.write('file', 0, Buffer.from('the new ones'))
  assert.strictEqual(await afterCrash(store, 'file'), 'the old bytes')
  // Of another file: its transaction takes the truncation along.
  await driver.fsync('other')
  assert.strictEqual(await afterCrash(store, 'file'), 'the new ones')
})

test('a name that is taken over leads to the old bytes or the new ones after a crash', async () => {
  const { store, driver } = await withOldFile()
  await using _driver = driver
  await driver.create('new')
  await driver.write('new', 0, Buffer.from('the new ones'))
  await driver.rename('new', 'file')
  await driver.fsync('other')
  assert.strictEqual(await afterCrash(store, 'file'), 'the new ones')
})

test('the bytes of a file that takes over a name are in the store before it does', async () => {
  for (const isFlushed of [false, true]) {
    const { store, driver } = await withOldFile()
    await using _driver = driver
    await driver.create('new')
    await driver.write('new', 0, Buffer.from('the new ones'))
    if (isFlushed) await driver.volume.buffer.flushAll()
    await driver.rename('new', 'file')
    assert.strictEqual(await afterCrash(store, 'new'), 'the new ones')
  }
})

test('a file that is cut and written anew is stored in a moment, not in a second', async () => {
  const { store, driver, clock } = await withOldFile()
  await using _driver = driver
  await driver.truncate('file', 0)
  await driver.write('file', 0, Buffer.from('the new ones'))
  await clock.advance(50)
  for (let turn = 0; turn < 100; turn++) await setImmediate()
  assert.strictEqual(await afterCrash(store, 'file'), 'the new ones')
})

test('that a file was cut is not forgotten when memory for records is short', async () => {
  const { store, driver, clock } = await withOldFile({ recordBytesMax: 512 })
  await using _driver = driver
  await driver.truncate('file', 0)
  // As an operation does that finds no room in the transaction.
  await driver.volume.metadata.commit()
  for (let trims = 0; trims < 3; trims++) driver.volume.records.trim()
  await driver.write('file', 0, Buffer.from('the new ones'))
  await clock.advance(50)
  for (let turn = 0; turn < 100; turn++) await setImmediate()
  assert.strictEqual(await afterCrash(store, 'file'), 'the new ones')
})

test('a name is not taken over before the bytes are in the store when memory for records is short', async () => {
  const { store, driver } = await withOldFile({ recordBytesMax: 512 })
  await using _driver = driver
  await driver.create('new')
  await driver.write('new', 0, Buffer.from('the new ones'))
  await driver.volume.buffer.flushAll()
  const setRecord = store.setRecord.bind(store)
  const { promise: isThere, resolve: comeBack } = Promise.withResolvers<void>()
  store.setRecord = (key, value) => isThere.then(() => setRecord(key, value))
  const committing = driver.volume.metadata.commit()
  for (let turn = 0; turn < 10; turn++) await setImmediate()
  for (let trims = 0; trims < 3; trims++) driver.volume.records.trim()
  let isRenamed = false
  const renaming = driver.rename('new', 'file').then(() => {
    isRenamed = true
  })
  for (let turn = 0; turn < 100; turn++) await setImmediate()
  const wasEarly = isRenamed
  comeBack()
  await Promise.all([committing, renaming])
  assert.equal(wasEarly, false)
  assert.strictEqual(await afterCrash(store, 'new'), 'the new ones')
})
