import assert from 'node:assert'
import { test } from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { MemoryStore } from '../src/store/memory-store.ts'
import { context, Driver } from './driver.ts'
import { check } from './fsck-world.ts'
import { SimulatedDisk, SimulatedStore } from './simulated-disk.ts'

const KiB = 1024
/** Files begin with a hole, so that what happens does so around the border of two chunks. */
const base = 16 * 1024 * KiB - 300 * KiB
const spanBytes = 700 * KiB
const names = ['a', 'b', 'c', 'd']
const keepSize = 1
const punchHole = 2

function copy(driver: Driver, from: string, at: number, to: string, toAt: number, length: number): Promise<number> {
  return driver.at(from, source =>
    driver.at(to, async target => {
      const range = { node: source, offsetBytes: at, lengthBytes: length }
      return await driver.filesystem.copyFileRange!(range, { node: target, offsetBytes: toAt }, context)
    }),
  )
}

async function punch(driver: Driver, path: string, at: number, length: number): Promise<void> {
  await driver.at(path, async node => {
    await driver.filesystem.fallocate!(node, 0, at, length, keepSize | punchHole, context)
  })
}

/** Waits until what was freed is deleted. */
async function untilBlocks(driver: Driver, store: MemoryStore, count: number): Promise<void> {
  for (let round = 0; store.blockCount !== count; round++) {
    assert(round < 500, `${store.blockCount} blocks are left`)
    await driver.volume.sync()
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

test('what a copy adds to a file with unstored bytes lies within its size after a crash', async () => {
  const store = new MemoryStore()
  await using driver = await Driver.mount(store)
  await driver.create('source')
  await driver.write('source', 0, Buffer.alloc(128 * KiB, 7))
  await driver.fsync('source')
  await driver.create('target')
  await driver.write('target', 0, Buffer.alloc(KiB, 1))
  await copy(driver, 'source', 0, 'target', 128 * KiB, 128 * KiB)
  await driver.volume.metadata.commit()
  await using after = await Driver.mount(store.copy())
  assert.strictEqual((await after.stat('target')).sizeBytes, 256 * KiB)
  assert((await after.read('target', 128 * KiB, 128 * KiB)).equals(Buffer.alloc(128 * KiB, 7)))
})

test('a copy that happens again after its source lost bytes lost them, too', async () => {
  await using driver = await Driver.mount(new MemoryStore())
  const { filesystem, volume } = driver
  await driver.create('source')
  await driver.write('source', 0, Buffer.alloc(KiB, 7))
  await driver.create('target')
  await driver.at('source', source =>
    driver.at('target', async target => {
      volume.lostBytes.add([source])
      const range = { node: source, offsetBytes: 0, lengthBytes: KiB }
      volume.repeatAt({ nowMs: 1, nodeId: null })
      await filesystem.copyFileRange!(range, { node: target, offsetBytes: 0 }, context)
      volume.repeatAt(null)
      await assert.rejects(async () => filesystem.fsync(target, 0, false, context), { code: 'EIO' })
    }),
  )
})

test('a copy stores no byte, and each file may go before the other', async () => {
  for (const gone of ['original', 'copy']) {
    const store = new MemoryStore()
    await using driver = await Driver.mount(store)
    const bytes = Buffer.from(Array.from({ length: 500 * KiB }, (_, index) => (index * 7) & 0xff))
    await driver.create('original')
    await driver.write('original', 0, bytes)
    await driver.create('copy')
    const { nextBlockId } = await driver.fsync('original').then(() => store)
    assert.strictEqual(await copy(driver, 'original', 0, 'copy', 0, 1024 * KiB), bytes.length)
    await driver.fsync('copy')
    assert.strictEqual(store.nextBlockId, nextBlockId)
    assert((await driver.read('copy', 0, bytes.length + 1)).equals(bytes))
    await driver.unlink(gone)
    await driver.volume.sync()
    const left = gone === 'copy' ? 'original' : 'copy'
    assert((await driver.read(left, 0, bytes.length + 1)).equals(bytes))
    await driver.unlink(left)
    await untilBlocks(driver, store, 0)
  }
})

test('a few bytes, and what is not stored yet, are copied as bytes', async () => {
  const store = new MemoryStore()
  await using driver = await Driver.mount(store)
  await driver.create('a')
  await driver.write('a', 0, Buffer.alloc(300 * KiB, 'x'))
  await driver.create('b')
  assert.strictEqual(await copy(driver, 'a', 100, 'b', 7, 10), 10)
  await driver.fsync('b')
  await driver.unlink('a')
  // The value of ten bytes, and not the one of 128 KiB that they came from.
  await untilBlocks(driver, store, 1)
  assert.strictEqual((await driver.stat('b')).blocks512, 1)
  assert.strictEqual((await driver.read('b', 0, 100)).toString(), `${'\0'.repeat(7)}${'x'.repeat(10)}`)
})

test('copies, writes, holes and cuts at random agree with plain bytes, and at the end no block is left', async t => {
  const prng = seededPrng(t)
  for (let history = 0; history < 4; history++) {
    const store = new MemoryStore()
    const model = new Map<string, Buffer>(names.map(name => [name, Buffer.alloc(0)]))
    const limits = { dirtyBytesMax: 1024 * KiB, blockCacheBytesMax: 256 * KiB, recordBytesMax: 8 * KiB }
    for (let mount = 0; mount < 3; mount++) {
      await using driver = await Driver.mount(store, limits)
      if (mount === 0) for (const name of names) await driver.create(name)
      for (let step = 0; step < 60; step++) {
        await act(prng, driver, model)
        if (prng.chance(0.2)) driver.volume.records.trim()
        if (prng.chance(0.1)) await driver.volume.sync()
      }
      await same(driver, model)
    }
    await using driver = await Driver.mount(store, limits)
    await same(driver, model)
    for (const name of names) await driver.unlink(name)
    await untilBlocks(driver, store, 0)
  }
})

test('a crash at any moment leaves every count as the extents have it, and every byte that was synced', async t => {
  await using directory = await temporaryDirectory()
  const prng = seededPrng(t)
  const disk = new SimulatedDisk()
  {
    await using driver = await Driver.mount(new SimulatedStore(disk))
    await driver.create('kept')
    await driver.write('kept', base, Buffer.alloc(spanBytes, 'k'))
    for (const name of names) await driver.create(name)
    for (const name of names) await copy(driver, 'kept', base, name, base, spanBytes)
  }
  for (let life = 0; life < 8; life++) {
    disk.stepsLeft = prng.below(300)
    let driver: Driver | null = null
    try {
      driver = await Driver.mount(new SimulatedStore(disk), { dirtyBytesMax: 1024 * KiB, recordBytesMax: 8 * KiB })
      for (let step = 0; step < 40; step++) {
        await act(prng, driver, new Map(names.map(name => [name, Buffer.alloc(0)])), false)
        if (prng.chance(0.3)) await copy(driver, 'kept', base, prng.pick(names), base, spanBytes)
        if (prng.chance(0.2)) await driver.volume.sync()
      }
    } catch (error) {
      if (!/the power failed/.test(String(error))) throw error
    }
    disk.crash(prng)
    const { problems } = await check(disk, directory.path)
    assert.deepStrictEqual(problems, [], `life ${life}`)
    await driver?.[Symbol.asyncDispose]().catch(() => undefined)
    await using fresh = await Driver.mount(new SimulatedStore(disk))
    assert((await fresh.read('kept', base, spanBytes + 1)).equals(Buffer.alloc(spanBytes, 'k')))
  }
})

/** One random operation on both. @param isCompared false: the model knows nothing of the files */
async function act(prng: Prng, driver: Driver, model: Map<string, Buffer>, isCompared = true): Promise<void> {
  const name = prng.pick(names)
  const at = prng.below(spanBytes)
  const length = Math.min(spanBytes - at, prng.pick([1, 5000, 128 * KiB, 300 * KiB]))
  const bytes = model.get(name)!
  const choice = prng.below(10)
  if (choice < 3) {
    const data = Buffer.alloc(length, prng.below(256))
    await driver.write(name, base + at, data)
    model.set(name, written(bytes, at, data))
  } else if (choice < 7) {
    const to = prng.pick(names)
    const aligned = prng.chance(0.6)
    const [fromAt, toAt] = aligned
      ? [at - (at % (4 * KiB)), at - (at % (4 * KiB))]
      : [at, prng.below(spanBytes - length + 1)]
    if (to === name && Math.abs(fromAt - toAt) < length) return
    const data = Buffer.from(bytes.subarray(fromAt, fromAt + length))
    const copied = await copy(driver, name, base + fromAt, to, base + toAt, length)
    if (isCompared) assert.strictEqual(copied, data.length)
    if (data.length > 0) model.set(to, written(model.get(to)!, toAt, data))
  } else if (choice < 9) {
    await punch(driver, name, base + at, length)
    bytes.subarray(at, at + length).fill(0)
  } else {
    await driver.truncate(name, base + at)
    model.set(name, Buffer.concat([bytes.subarray(0, at), Buffer.alloc(Math.max(0, at - bytes.length))]))
  }
}

function written(bytes: Buffer, at: number, data: Buffer): Buffer {
  const grown = Buffer.concat([bytes, Buffer.alloc(Math.max(0, at + data.length - bytes.length))])
  data.copy(grown, at)
  return grown
}

async function same(driver: Driver, model: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [name, bytes] of model) {
    const read = await driver.read(name, base, spanBytes + 1)
    assert.strictEqual(read.length, bytes.length, name)
    assert(read.equals(bytes), `${name} differs`)
  }
}
