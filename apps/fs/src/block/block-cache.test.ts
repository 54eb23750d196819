import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c } from '@qsfs/bytes/checksum'
import type { BlockId } from '../store/store.ts'
import { BlockCache } from './block-cache.ts'
import type { Extent } from './extents.ts'

const valueBytes = 1000

/** A store whose block n is full of n, and which overwrites what it is given back. */
function source() {
  const givenBack: number[] = []
  return {
    givenBack,
    getBlock: async (id: BlockId) => Buffer.from(new ArrayBuffer(valueBytes)).fill(id),
    giveBack(bytes: Buffer): void {
      givenBack.push(bytes[0]!)
      bytes.fill(0xee)
    },
  }
}

function extent(id: BlockId): Extent {
  const crc = crc32c(Buffer.alloc(valueBytes, id))
  return { offset: 0, length: valueBytes, id, valueOffset: 0, valueBytes, crc, shared: false }
}

const nextTurn = () => new Promise(resolve => setImmediate(resolve))

test('memory goes back when a value has left the cache, in the next turn', async () => {
  const store = source()
  const cache = new BlockCache(store, { bytesMax: 2 * valueBytes })
  for (const id of [1, 2]) await cache.load(extent(id))
  const first = cache.get(1)!
  cache.drop([1])
  await Promise.resolve()
  assert.equal(first[0], 1)
  await nextTurn()
  assert.deepEqual(store.givenBack, [1])
  for (const id of [3, 4]) await cache.load(extent(id))
  await nextTurn()
  assert.deepEqual(store.givenBack, [1, 2])
  assert.deepEqual([cache.sizeBytes, cache.has(2), cache.get(3)?.[999], cache.get(4)?.[0]], [2000, false, 3, 4])
})

test('what is retained stays as it is, also when it is retained only after it left', async () => {
  const store = source()
  const cache = new BlockCache(store, { bytesMax: 0 })
  const value = await cache.load(extent(5))
  assert(!cache.has(5))
  cache.retain(value)
  cache.retain(value)
  await nextTurn()
  cache.release(value)
  await nextTurn()
  assert.deepEqual([value[0], store.givenBack], [5, []])
  cache.release(value)
  await nextTurn()
  assert.deepEqual(store.givenBack, [5])
})

test('a value that is put is a copy; one that is not what was written is an error and is not kept', async () => {
  const store = source()
  const cache = new BlockCache(store, { bytesMax: 10 * valueBytes })
  const window = Buffer.alloc(valueBytes, 7)
  cache.put(7, window.subarray(0, 500))
  window.fill(0)
  assert.equal(cache.get(7)?.[499], 7)
  await assert.rejects(cache.load({ ...extent(8), crc: 1 }), { code: 'EIO' })
  assert.deepEqual([cache.has(8), cache.sizeBytes], [false, 500])
})
