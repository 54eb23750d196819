import assert from 'node:assert'
import { test } from 'node:test'
import { MemoryStore } from '../src/store/memory-store.ts'
import { context, Driver } from './driver.ts'

const chunkBytes = 16 * 1024 * 1024
const chunks = 150

/** Extents in many chunks: more than one operation may free. */
async function scatter(driver: Driver, path: string): Promise<void> {
  await driver.create(path)
  for (let index = 0; index < chunks; index++) await driver.write(path, index * chunkBytes + 5, Buffer.from(`${index}`))
  await driver.fsync(path)
}

async function until(isDone: () => boolean): Promise<void> {
  for (let round = 0; !isDone(); round++) {
    assert(round < 500, 'space does not come back')
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

test('a huge file is cut in steps, and what was cut is never seen again', async () => {
  const store = new MemoryStore()
  await using driver = await Driver.mount(store, { recordBytesMax: 64 * 1024 })
  await scatter(driver, 'huge')
  assert.strictEqual(store.blockCount, chunks)
  const far = (chunks - 1) * chunkBytes + 5
  assert.strictEqual((await driver.read('huge', far, 3)).toString(), `${chunks - 1}`)
  await driver.truncate('huge', chunkBytes + 6)
  // Growing waits until nothing is left beyond the old size.
  await driver.truncate('huge', chunks * chunkBytes)
  assert((await driver.read('huge', far, 3)).equals(Buffer.alloc(3)))
  assert.strictEqual((await driver.read('huge', chunkBytes + 5, 2)).toString(), '1\0')
  assert.strictEqual(driver.volume.orphans.count, 0)
  await driver.volume.sync()
  await until(() => store.blockCount === 2)
  assert.strictEqual((await driver.stat('huge')).blocks512, 1)
})

test('a huge file that is unlinked while it is held goes when it is let go, or at the next mount', async () => {
  const store = new MemoryStore()
  {
    await using driver = await Driver.mount(store)
    await scatter(driver, 'held')
    await scatter(driver, 'left')
    await driver.at('held', async nodeId => {
      await driver.unlink('held')
      const parts = await driver.filesystem.read(nodeId, 0, chunkBytes + 5, 1, context)
      assert.strictEqual(Buffer.concat(parts).toString(), '1')
    })
    await until(() => driver.volume.orphans.count === 0)
    const held = await driver.at('left', nodeId => nodeId)
    driver.volume.inodes.raiseLookups(held)
    await driver.unlink('left')
    await driver.volume.sync()
    assert.strictEqual(driver.volume.orphans.count, 1)
  }
  await using driver = await Driver.mount(store)
  await until(() => driver.volume.orphans.count === 0)
  await driver.volume.sync()
  await until(() => store.blockCount === 0)
})
