import assert from 'node:assert'
import { test } from 'node:test'
import { VolumeFilesystem } from '../src/ops/filesystem.ts'
import { FileStates, type Places } from '../src/state/file-state.ts'
import type { SegmentPlace } from '../src/state/segment-states.ts'
import { MemoryStore } from '../src/store/memory-store.ts'
import { context, Driver } from './driver.ts'

const open = { id: 3, state: 'open', objectId: null, isLocal: true } as const
const closed = { id: 2, state: 'closed', objectId: null, isLocal: true } as const
const stored = { id: 1, state: 'stored', objectId: 'a'.repeat(32), isLocal: true } as const
const absent = { id: 0, state: 'absent', objectId: 'b'.repeat(32), isLocal: false } as const

/** A filesystem whose blocks lie where the test says: one place per block, in the order of writing. */
async function withPlaces(
  placeOf: readonly SegmentPlace[],
  use: (filesystem: VolumeFilesystem, driver: Driver, states: FileStates) => Promise<void>,
): Promise<void> {
  await using driver = await Driver.mount(new MemoryStore())
  const places: Places = {
    of: async ids => ids.map(id => placeOf[id] ?? null),
    marginOf: async objectIds => ({ confirmed: objectIds.has(absent.objectId) ? 5 : 6, wanted: 6, survives: 1 }),
  }
  const states = new FileStates(driver.volume, places)
  await use(new VolumeFilesystem(driver.volume, { opensSilently: false, capacity: () => null, states }), driver, states)
}

async function attribute(filesystem: VolumeFilesystem, driver: Driver, path: string, name: string): Promise<string> {
  return await driver.at(path, async nodeId => String(await filesystem.getxattr(nodeId, Buffer.from(name))))
}

test('a file tells where its bytes are, by the part that is worst off', async () => {
  await withPlaces([stored, absent, closed, open], async (filesystem, driver) => {
    const state = () => attribute(filesystem, driver, 'f', 'user.qsfs.state')
    const blocks = () => attribute(filesystem, driver, 'f', 'user.qsfs.blocks')
    await driver.create('f')
    assert.deepStrictEqual([await state(), await blocks()], ['empty', '0 blocks, 0 B, in 0 segments'])
    await driver.write('f', 0, Buffer.alloc(1024))
    assert.deepStrictEqual(
      [await state(), await blocks()],
      ['local', '0 blocks, 1 KiB, in 0 segments: 1 KiB in memory'],
    )
    await driver.fsync('f')
    assert.deepStrictEqual(
      [await state(), await blocks()],
      ['dispersed 6/6, survives 1', '1 blocks, 1 KiB, in 1 segments: 1 stored'],
    )
    await driver.write('f', 20_000_000, Buffer.alloc(1024))
    await driver.fsync('f')
    assert.strictEqual(await state(), 'dispersed 5/6, survives 1')
    assert.strictEqual(await blocks(), '2 blocks, 2 KiB, in 2 segments: 2 stored, 1 of them not on this disk')
    await driver.write('f', 40_000_000, Buffer.alloc(1024))
    await driver.fsync('f')
    assert.strictEqual(await state(), 'closed')
    await driver.write('f', 60_000_000, Buffer.alloc(1024))
    await driver.fsync('f')
    assert.strictEqual(await state(), 'local')
    assert.match(await blocks(), /^4 blocks, 4 KiB, in 4 segments: 1 local, 1 closed, 2 stored, 1 of them/)
  })
})

test('a directory is all that lies below it', async () => {
  await withPlaces([stored, stored, absent], async (_, driver, states) => {
    await driver.mkdir('d')
    await driver.mkdir('d/e')
    for (const path of ['d/a', 'd/e/b', 'd/e/c']) {
      await driver.create(path)
      await driver.write(path, 0, Buffer.alloc(100))
      await driver.fsync(path)
    }
    const { counts, segmentCount } = await driver.at('d', nodeId => states.of([nodeId]))
    const { files, directories, blocks, stored: storedCount, absent: absentCount } = counts
    assert.deepStrictEqual({ files, directories, blocks }, { files: 3, directories: 2, blocks: 3 })
    assert.deepStrictEqual([storedCount, absentCount, segmentCount], [3, 1, 2])
  })
})

test('what is computed is not listed, not set, not removed, and no directory has it', async () => {
  await withPlaces([open], async (filesystem, driver) => {
    await driver.create('f')
    const name = Buffer.from('user.qsfs.state')
    await driver.at('f', async nodeId => {
      assert.strictEqual((await filesystem.listxattr(nodeId, context)).length, 0)
      assert.throws(() => filesystem.setxattr(nodeId, name, Buffer.from('x'), 0), { code: 'EPERM' })
      assert.throws(() => filesystem.removexattr(nodeId, name), { code: 'EPERM' })
    })
    await assert.rejects(attribute(filesystem, driver, '', 'user.qsfs.state'), { code: 'ENODATA' })
  })
})

test('a server that is down makes no wrong statement', async () => {
  await using driver = await Driver.mount(new MemoryStore())
  const states = new FileStates(driver.volume, { of: () => Promise.reject(new Error('down')), marginOf: null })
  await driver.create('f')
  await driver.write('f', 0, Buffer.from('x'))
  await driver.fsync('f')
  await assert.rejects(
    driver.at('f', nodeId => states.attribute(nodeId, 'user.qsfs.state')),
    { code: 'EAGAIN' },
  )
})
