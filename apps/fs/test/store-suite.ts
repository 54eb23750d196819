import assert from 'node:assert'
import { test } from 'node:test'
import { FuseError } from '@qsfs/fuse/errno'
import type { Store } from '../src/store/store.ts'

/** What every store promises. `open` opens the store under test on what earlier calls left. */
export function storeSuite(name: string, open: () => Promise<Store>): void {
  test(`${name}: blocks get ascending ids and come back in parts`, async () => {
    await using store = await open()
    const first = store.nextBlockId
    const blocks = Array.from({ length: 20 }, (_, i) => Buffer.alloc(1000 + i, i))
    const ids = await Promise.all(blocks.map(bytes => store.putBlock(bytes)))
    assert.equal(new Set(ids).size, 20)
    assert.ok(ids.every(id => id >= first && id < store.nextBlockId))
    for (const [i, id] of ids.entries()) {
      assert.deepEqual(await store.getBlock(id, 0, 1000 + i), blocks[i])
      assert.deepEqual(await store.getBlock(id, 900, 100), blocks[i]!.subarray(900, 1000))
    }
  })

  test(`${name}: large values come back whole`, async () => {
    await using store = await open()
    const bytes = Buffer.alloc(128 * 1024, 'large')
    const id = await store.putBlock(bytes)
    assert.ok((await store.getBlock(id, 0, bytes.length)).equals(bytes))
    const record = Buffer.alloc(1024 * 1024, 'record')
    await store.setRecord('large', record)
    assert.ok((await store.getRecord('large'))!.equals(record))
  })

  test(`${name}: what is not there, or not long enough, is EIO`, async () => {
    await using store = await open()
    const id = await store.putBlock(Buffer.from('short'))
    await assert.rejects(store.getBlock(id, 0, 6), isEio)
    await assert.rejects(store.getBlock(store.nextBlockId + 1000, 0, 1), isEio)
  })

  test(`${name}: deleting twice is deleting once`, async () => {
    await using store = await open()
    const id = await store.putBlock(Buffer.from('gone soon'))
    await store.deleteBlocks([id])
    await store.deleteBlocks([id])
    await assert.rejects(store.getBlock(id, 0, 1), isEio)
    await store.setRecord('r', Buffer.from('gone soon'))
    await store.deleteRecord('r')
    await store.deleteRecord('r')
    assert.equal(await store.getRecord('r'), null)
  })

  test(`${name}: a record has the bytes it was given last, also when they did not change`, async () => {
    await using store = await open()
    await store.setRecord('r', Buffer.from('one'))
    await store.setRecord('r', Buffer.from('two'))
    await store.setRecord('r', Buffer.from('two'))
    assert.equal(String(await store.getRecord('r')), 'two')
    assert.equal(await store.getRecord('never set'), null)
  })

  test(`${name}: a sync covers all that was answered before it`, async () => {
    await using store = await open()
    await store.putBlock(Buffer.from('block'))
    await store.setRecord('r', Buffer.from('record'))
    const { answered } = store
    assert.ok(store.synced < answered)
    await store.sync()
    assert.ok(store.synced >= answered)
    assert.equal(store.unsyncedBytes, 0)
  })

  test(`${name}: a record and a sync sent together cover all that was answered before, whatever comes in between`, async () => {
    await using store = await open()
    for (const others of [0, 3]) {
      await store.putBlock(Buffer.from('block'))
      const during = Array.from({ length: others }, () => store.putBlock(Buffer.from('meanwhile')))
      const { set, synced } = store.setRecordAndSync('r', Buffer.from(`with ${others}`))
      await set
      assert.equal(String(await store.getRecord('r')), `with ${others}`)
      const { answered } = store
      await synced
      assert.ok(store.synced >= answered)
      await Promise.all(during)
    }
  })
}

function isEio(error: unknown): boolean {
  return error instanceof FuseError && error.code === 'EIO'
}
