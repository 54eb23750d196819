import assert from 'node:assert'
import { test } from 'node:test'
import { FuseError } from '@qsfs/fuse/errno'
import { MemoryStore } from '../src/store/memory-store.ts'
import { Driver } from './driver.ts'

const chunkBytes = 16 * 1024 * 1024
const chunkCount = 12

/** A store whose records cannot be read now and then. */
class UnreadableStore extends MemoryStore {
  isReadable = true

  override async getRecord(key: string): Promise<Buffer | null> {
    if (!this.isReadable) throw new FuseError('EIO', 'unreadable')
    return super.getRecord(key)
  }
}

test('while what was cut cannot be freed, the file does not grow, and what was cut is never seen again', async () => {
  const store = new UnreadableStore()
  {
    await using driver = await Driver.mount(store)
    await driver.create('file')
    for (let i = 0; i < chunkCount; i++) await driver.write('file', i * chunkBytes, Buffer.from('seen'))
    await driver.fsync('file')
  }
  // A fresh mount: none of the extents is in memory.
  await using driver = await Driver.mount(store)
  await driver.stat('file')
  store.isReadable = false
  await driver.truncate('file', 0)
  const inode = await driver.at('file', nodeId => driver.volume.inodes.get(nodeId))
  for (let attempt = 0; attempt < 2; attempt++) {
    await assert.rejects(driver.truncate('file', chunkCount * chunkBytes), { code: 'EIO' })
    assert.notStrictEqual(inode.trimming, null)
  }
  store.isReadable = true
  // The attempt under way may still fail; the next one does not.
  await driver.truncate('file', chunkCount * chunkBytes).catch(() => driver.truncate('file', chunkCount * chunkBytes))
  assert.deepStrictEqual(await driver.read('file', 5 * chunkBytes, 4), Buffer.alloc(4))
})
