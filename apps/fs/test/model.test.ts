import assert from 'node:assert'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { MemoryStore } from '../src/store/memory-store.ts'
import { Driver } from './driver.ts'
import { step } from './soak/actor.ts'
import { DriverActor } from './soak/driver-actor.ts'
import { History } from './soak/history.ts'
import { type ModelDirectory, randomOperation } from './soak/model.ts'

test('random operations agree with a plain model, over remounts', async t => {
  const prng = seededPrng(t)
  for (let world = 0; world < 4; world++) {
    const store = new MemoryStore()
    const history = new History()
    // Small caches: records and blocks leave memory and come back.
    const limits = { dirtyBytesMax: 1024 * 1024, blockCacheBytesMax: 256 * 1024, recordBytesMax: 8 * 1024 }
    for (let mount = 0; mount < 3; mount++) {
      await using driver = await Driver.mount(store, limits)
      const actor = new DriverActor(driver)
      for (let at = 0; at < 250; at++) {
        if (prng.chance(0.05)) driver.volume.records.trim()
        await step(history, actor, randomOperation(prng), () => false)
      }
      if (prng.chance(0.5)) await driver.volume.buffer.flushAll()
      history.intact(await actor.look())
    }
    await using driver = await Driver.mount(store, limits)
    history.intact(await new DriverActor(driver).look())
    await removeAll(driver, history.now.root, '')
    await driver.volume.sync()
    await until(() => driver.volume.orphans.count === 0)
    await driver.volume.sync()
    await until(() => store.blockCount === 0)
  }
})

async function until(isDone: () => boolean): Promise<void> {
  for (let round = 0; !isDone(); round++) {
    assert(round < 500, 'space does not come back')
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

async function removeAll(driver: Driver, directory: ModelDirectory, path: string): Promise<void> {
  for (const [name, node] of directory.names) {
    const child = path === '' ? name : `${path}/${name}`
    if (node.kind === 'directory') {
      await removeAll(driver, node, child)
      await driver.rmdir(child)
    } else await driver.unlink(child)
  }
}
