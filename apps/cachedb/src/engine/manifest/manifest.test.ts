import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { SimulatedStorage } from '../../../test/simulated-storage.ts'
import type { ManifestRecord } from '../../segment/manifest-format.ts'
import { Manifest } from './manifest.ts'
import { ManifestState } from './manifest-state.ts'

const path = '/data/ns/manifest'
const objectId = '00112233445566778899aabbccddeeff'
const settings = { mode: 'user', public: true, worm: false, maxBytes: 0, password: '' } as const

function lives(count: number): ManifestRecord[] {
  const records: ManifestRecord[] = [{ type: 'settings', ...settings }]
  for (let segmentId = 0; segmentId < count; segmentId++) {
    records.push({
      type: 'opens',
      segmentId,
      salt: segmentId + 1,
      previousEndBytes: segmentId === 0 ? 0 : 100,
      nextId: segmentId * 3,
    })
    records.push({ type: 'synced', segmentId, syncedBytes: 50 })
    if (segmentId % 4 < 3)
      records.push({ type: 'closed', segmentId, dataBytes: segmentId % 5 === 0 ? 80 : 100, salt: segmentId + 1 })
    if (segmentId % 4 < 2) records.push({ type: 'stored', segmentId, objectId })
    if (segmentId % 4 === 0) records.push({ type: 'absent', segmentId, objectId })
    if (segmentId % 8 === 1) records.push({ type: 'gone', segmentId, objectId })
    if (segmentId % 8 === 2) records.push({ type: 'storing', segmentId }, { type: 'gone', segmentId, objectId: null })
  }
  return records
}

test('the shortest list of records folds to the same state', () => {
  const state = new ManifestState(Buffer.alloc(8, 1))
  for (const record of lives(40)) state.apply(record)
  const again = new ManifestState(Buffer.alloc(8, 1))
  for (const record of state.records()) again.apply(record)
  // A bound is of use to the open segments only.
  const shown = (of: ManifestState) =>
    [...of.segments.values()].map(({ syncedBytes, ...rest }) =>
      rest.state === 'open' ? { ...rest, syncedBytes } : rest,
    )
  assert.deepEqual(shown(again), shown(state))
  assert.deepEqual(again.settings, state.settings)
  assert.equal(again.lastSegmentId, state.lastSegmentId)
})

test('a long manifest is written anew while appends go on; a power cut at any point finds all that was synced', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  await storage.syncDirectory('/data')
  const manifest = await Manifest.create(storage, path, Buffer.alloc(8, 1), lives(4))
  let synced = 0
  let appended = 0
  const images: { readonly image: SimulatedStorage; readonly synced: number; readonly appended: number }[] = []
  storage.onOperation = () => images.push({ image: storage.cut(prng), synced, appended })
  const append = () => manifest.append({ type: 'point', epoch: 1, point: ++appended })
  while (manifest.sizeBytes < 64 * 1024) append()
  for (let round = 0; round < 30; round++) {
    append()
    const covered = appended
    const sync = manifest.sync().then(() => {
      synced = Math.max(synced, covered)
    })
    for (let turn = 0; turn < 3; turn++) {
      append()
      await new Promise(resolve => setImmediate(resolve))
    }
    if (prng.chance(0.7)) await sync
  }
  assert(manifest.sizeBytes < 8 * 1024, 'it was written anew')
  for (const { image, synced, appended } of images.filter(({ synced }) => synced > 0)) {
    using found = (await Manifest.open(image, path))!
    assert(found.state.point >= synced && found.state.point <= appended + 1)
    assert.equal(found.state.segments.size, manifest.state.segments.size)
  }
})

test('after a failed sync the state goes to a new file', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  const manifest = await Manifest.create(storage, path, Buffer.alloc(8, 1), lives(4))
  let failures = 1
  storage.failsSync = at => at === path && failures-- > 0
  manifest.append({ type: 'point', epoch: 1, point: 7 })
  await manifest.sync()
  using found = (await Manifest.open(storage.kill(), path))!
  assert.equal(found.state.point, 7)
  storage.failsSync = () => true
  manifest.append({ type: 'point', epoch: 1, point: 8 })
  await assert.rejects(manifest.sync())
})

test('a sync that was asked for before the file is closed leaves what the next owner wrote', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  const manifest = await Manifest.create(storage, path, Buffer.alloc(8, 1), lives(4))
  const syncs = Promise.allSettled([manifest.sync(), Promise.resolve().then(() => manifest.sync())])
  await new Promise(resolve => setImmediate(resolve))
  manifest[Symbol.dispose]()
  using next = (await Manifest.open(storage, path))!
  next.append({ type: 'point', epoch: 1, point: 7 })
  await next.sync()
  await syncs
  using found = (await Manifest.open(storage, path))!
  assert.equal(found.state.point, 7)
})

test('a file written anew whose name may not be on disk is the last: nothing more is recorded before the next open', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  await storage.syncDirectory('/data')
  const manifest = await Manifest.create(storage, path, Buffer.alloc(8, 1), lives(4))
  let failures = 1
  storage.failsSync = at => at === path && failures-- > 0
  const syncDirectory = storage.syncDirectory.bind(storage)
  storage.syncDirectory = async () => {
    throw new Error('the disk failed')
  }
  manifest.append({ type: 'point', epoch: 1, point: 7 })
  await assert.rejects(manifest.sync())
  storage.syncDirectory = syncDirectory
  assert.throws(() => manifest.append({ type: 'point', epoch: 1, point: 8 }), /cannot be synced/)
  await assert.rejects(manifest.sync(), /cannot be synced/)
  manifest[Symbol.dispose]()
  using again = (await Manifest.open(storage, path))!
  await storage.syncDirectory('/data/ns')
  assert.equal(again.state.point, 7)
  for (let seed = 0; seed < 20; seed++) {
    using found = (await Manifest.open(storage.cut(prngFromSeed(seed)), path))!
    assert.equal(found.state.point, 7)
  }
})

test('a record that does not fold is refused before it is written, with those beside it; the next start finds none of them', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  const manifest = await Manifest.create(storage, path, Buffer.alloc(8, 1), lives(4))
  const bytes = storage.bytesOf(path)
  const bad: ManifestRecord[] = [
    { type: 'closed', segmentId: 99, dataBytes: 100, salt: 1 },
    { type: 'absent', segmentId: 3, objectId },
    { type: 'opens', segmentId: 2, salt: 1, previousEndBytes: 100, nextId: 9 },
  ]
  for (const record of bad) {
    assert.throws(() => manifest.append({ type: 'point', epoch: 1, point: 7 }, record), assert.AssertionError)
    assert.deepEqual(storage.bytesOf(path), bytes)
    assert.equal(manifest.state.point, 0)
  }
  manifest.append(
    { type: 'opens', segmentId: 4, salt: 5, previousEndBytes: 100, nextId: 12 },
    { type: 'closed', segmentId: 4, dataBytes: 100, salt: 5 },
  )
  using found = (await Manifest.open(storage.kill(), path))!
  assert.deepEqual([...found.state.segments.keys()], [...manifest.state.segments.keys()])
})

test('a disk without room for a shorter manifest keeps the long one, and syncs it', async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  using manifest = await Manifest.create(storage, path, Buffer.alloc(8, 1), [{ type: 'settings', ...settings }])
  await storage.syncDirectory('/data')
  for (let maxBytes = 1; maxBytes <= 4_000; maxBytes++) manifest.append({ type: 'settings', ...settings, maxBytes })
  storage.capacityBytes = storage.usedBytes
  await manifest.sync()
  using found = await Manifest.open(storage.cut(prng), path)
  assert.equal(found!.state.settings!.maxBytes, 4_000)
  assert.equal(storage.sizeBytes(`${path}.tmp`), null)
})

test('what was on disk once is damaged when it is bad, not torn; a torn tail is cut', async () => {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data/ns')
  const manifest = await Manifest.create(storage, path, Buffer.alloc(8, 1), lives(4))
  const createdBytes = manifest.sizeBytes
  manifest.append({ type: 'point', epoch: 1, point: 1 })
  await manifest.sync()
  const syncedBytes = manifest.sizeBytes
  manifest.append({ type: 'point', epoch: 1, point: 2 })
  manifest[Symbol.dispose]()
  const whole = Buffer.from(storage.bytesOf(path))
  const reopened = async (flippedAt: number) => {
    const bytes = Buffer.from(whole)
    bytes[flippedAt]! ^= 1
    const disk = new SimulatedStorage()
    disk.makeDirectory('/data/ns')
    disk.put(path, bytes)
    using again = await Manifest.open(disk, path)
    return again!.state.point
  }
  for (let at = 20; at < syncedBytes; at++)
    await assert.rejects(reopened(at), { name: 'FormatError', message: /damaged at byte \d+, which was on disk/ })
  for (let at = syncedBytes; at < whole.length; at++) assert.equal(await reopened(at), 1)
  assert.ok(createdBytes < syncedBytes)
})
