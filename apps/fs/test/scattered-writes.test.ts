import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KiB, MiB } from '@qsfs/bytes/units'
import { MemoryStore } from '../src/store/memory-store.ts'
import { Driver } from './driver.ts'

test('pages scattered over a stored file never make its extents more than a record holds', async () => {
  const store = new MemoryStore()
  const fileBytes = 16 * MiB
  const want = Buffer.alloc(fileBytes, 'old ')
  {
    await using driver = await Driver.mount(store)
    await driver.create('/f')
    await driver.write('/f', 0, want)
    await driver.fsync('/f')
    // Six or seven in each window of 128 KiB, each in the middle of what was stored.
    const page = Buffer.alloc(4 * KiB, 'new ')
    for (let at = 4 * KiB; at + page.length <= fileBytes; at += 20 * KiB) {
      page.copy(want, at)
      await driver.write('/f', at, page)
    }
    await driver.fsync('/f')
  }
  await using driver = await Driver.mount(store)
  assert((await driver.read('/f', 0, fileBytes)).equals(want), 'after a remount')
})
