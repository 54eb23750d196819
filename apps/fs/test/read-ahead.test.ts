import assert from 'node:assert'
import { test } from 'node:test'
import { MemoryStore } from '../src/store/memory-store.ts'
import type { BlockId } from '../src/store/store.ts'
import { Driver } from './driver.ts'

const MiB = 1024 * 1024
const blocksPerMiB = 8

/** Notes which blocks are asked for. */
class WatchedStore extends MemoryStore {
  readonly asked = new Set<BlockId>()

  override getBlock(...args: Parameters<MemoryStore['getBlock']>): Promise<Buffer> {
    this.asked.add(args[0])
    return super.getBlock(...args)
  }
}

/** A file whose blocks were put in order: block n lies at n x 128 KiB. */
async function fileOf(mebibytes: number): Promise<{ driver: Driver; store: WatchedStore }> {
  const store = new WatchedStore()
  const driver = await Driver.mount(store)
  await driver.create('file')
  for (let at = 0; at < mebibytes; at++) {
    await driver.write('file', at * MiB, Buffer.alloc(MiB, at))
    await driver.fsync('file')
  }
  return { driver, store }
}

const askedIn = (store: WatchedStore, first: number, end: number): number =>
  [...store.asked].filter(id => id >= first * blocksPerMiB && id < end * blocksPerMiB).length

test('a sequential reader finds the next blocks read, and a block of the next segment asked for', async () => {
  const { driver, store } = await fileOf(48)
  await using _driver = driver
  for (let at = 0; at < 8; at++) assert.equal((await driver.read('file', at * MiB, MiB))[0], at)
  assert.equal(askedIn(store, 0, 12), 12 * blocksPerMiB)
  assert.equal(askedIn(store, 12, 32), 0)
  const scouted = askedIn(store, 32, 48)
  assert(scouted > 0 && scouted <= 3, `${scouted} blocks were scouted`)
})

test('a reader that jumps about reads nothing ahead', async () => {
  const { driver, store } = await fileOf(48)
  await using _driver = driver
  for (const at of [40, 3, 22, 11, 30]) assert.equal((await driver.read('file', at * MiB, 4096))[0], at)
  assert.equal(store.asked.size, 5)
})
