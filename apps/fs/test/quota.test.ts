import assert from 'node:assert'
import { test } from 'node:test'
import { MiB } from '@qsfs/bytes/units'
import { seededPrng } from '@qsfs/testkit/prng'
import { FormatError } from '../src/errors.ts'
import { MemoryStore } from '../src/store/memory-store.ts'
import { Numbers } from '../src/tree/inode-table.ts'
import { context, Driver } from './driver.ts'
import { SimulatedDisk, SimulatedStore } from './simulated-disk.ts'

const full = { code: 'ENOSPC' }

test('a write beyond the quota fails at once, an overwrite does not, and what is freed can be written again', async () => {
  const store = new MemoryStore()
  const limits = { quotaBytesMax: 4 * MiB }
  await using driver = await Driver.mount(store, limits)
  const { quota } = driver.volume
  await driver.create('a')
  await driver.write('a', 0, Buffer.alloc(3 * MiB, 'a'))
  await driver.create('b')
  await assert.rejects(driver.write('b', 0, Buffer.alloc(2 * MiB, 'b')), full)
  assert.strictEqual((await driver.stat('b')).sizeBytes, 0)
  await driver.write('b', 0, Buffer.alloc(MiB, 'b'))
  await driver.volume.sync()
  assert.strictEqual(quota.limit(null)?.freeBytes, 0)
  assert.strictEqual(quota.limit(null)?.totalBytes, 4 * MiB)
  // No byte more, but every byte anew; a hole holds nothing.
  await assert.rejects(driver.write('b', MiB, Buffer.from('x')), full)
  await driver.write('a', MiB, Buffer.alloc(2 * MiB, 'A'))
  await driver.truncate('b', 100 * MiB)
  await driver.truncate('a', MiB)
  await driver.write('b', 50 * MiB, Buffer.alloc(2 * MiB, 'b'))
  await driver.unlink('b')
  await driver.volume.sync()
  assert.strictEqual(quota.usedBytes, MiB)
})

test('a block that two files share costs both of them', async () => {
  await using driver = await Driver.mount(new MemoryStore(), { quotaBytesMax: 4 * MiB })
  for (const name of ['a', 'b', 'c']) await driver.create(name)
  await driver.write('a', 0, Buffer.alloc(2 * MiB, 'a'))
  await driver.fsync('a')
  const copy = (to: string) =>
    driver.at('a', node =>
      driver.at(to, target =>
        driver.filesystem.copyFileRange!(
          { node, offsetBytes: 0, lengthBytes: 2 * MiB },
          { node: target, offsetBytes: 0 },
          context,
        ),
      ),
    )
  assert.strictEqual(await copy('b'), 2 * MiB)
  await assert.rejects(copy('c'), full)
  // Over what it has it costs nothing.
  assert.strictEqual(await copy('b'), 2 * MiB)
  await driver.unlink('a')
  await driver.volume.sync()
  assert.strictEqual(driver.volume.quota.usedBytes, 2 * MiB)
})

test('what the files hold is known after a crash and at the next mount', async t => {
  const prng = seededPrng(t)
  const disk = new SimulatedDisk()
  for (let life = 0; life < 6; life++) {
    const driver = await Driver.mount(new SimulatedStore(disk))
    const attrs = await Promise.all((await driver.list('')).map(({ name }) => driver.stat(name)))
    const heldBytes = attrs.reduce((sum, { nodeId, blocks512 }) => sum + (nodeId === 1 ? 0 : blocks512 * 512), 0)
    assert.strictEqual(driver.volume.quota.usedBytes, heldBytes)
    for (let step = 0; step < 20; step++) {
      const name = `f${prng.below(4)}`
      await driver.create(name).catch(() => undefined)
      await driver.write(name, prng.below(100) * 512, prng.bytes(512 * (1 + prng.below(300))))
      if (prng.chance(0.2)) await driver.fsync(name)
      if (prng.chance(0.2)) await driver.truncate(name, 512 * prng.below(100))
      if (prng.chance(0.1)) await driver.unlink(name)
    }
    await driver.volume.buffer.flushAll()
    await driver.volume.metadata.commit()
    disk.crash(prng)
    await driver[Symbol.asyncDispose]().catch(() => undefined)
  }
})

test('a filesystem from before bytes were counted is counted once', async () => {
  const store = new MemoryStore()
  {
    await using driver = await Driver.mount(store)
    for (let index = 0; index < 40; index++) {
      await driver.create(`f${index}`)
      await driver.write(`f${index}`, 0, Buffer.alloc(100))
    }
  }
  const numbers = (await store.getRecord('n'))!
  const version1 = Buffer.from(numbers.subarray(0, 32))
  version1.writeUInt16LE(1, 4)
  await store.setRecord('n', version1)
  await using driver = await Driver.mount(store)
  assert.strictEqual(driver.volume.quota.usedBytes, 4000)
})

test('golden numbers, version 2', () => {
  const numbers = new Numbers(null)
  Object.assign(numbers, { nextNodeId: 17, inodeCount: 16, orphanRecordCount: 1, allocatedBytes: 4096 })
  const golden = [
    '514e554d', // magic "QNUM"
    '0200', // version 2
    '0000', // reserved
    '1100000000000000', // next inode number 17
    '1000000000000000', // inodes
    '0100000000000000', // orphan records
    '0010000000000000', // bytes that extents hold: 4096
  ].join('')
  assert.strictEqual(numbers.encode().toString('hex'), golden)
  assert.deepStrictEqual(new Numbers(Buffer.from(golden, 'hex')), numbers)
  assert.throws(() => new Numbers(Buffer.from(golden.replace('0200', '0300'), 'hex')), FormatError)
})

test('there are no more inodes than the quota says', async () => {
  await using driver = await Driver.mount(new MemoryStore(), { quotaInodesMax: 3 })
  await driver.create('a')
  await driver.mkdir('b')
  await assert.rejects(driver.create('c'), full)
  await assert.rejects(driver.symlink('c', 'a'), full)
  await driver.link('a', 'c')
  await driver.rmdir('b')
  await driver.create('d')
})

test('what was deleted is awaited while the kernel still lets go of it, and not for long when it does not', async () => {
  await using driver = await Driver.mount(new MemoryStore(), { quotaBytesMax: 4 * MiB, quotaInodesMax: 3 })
  for (const name of ['old', 'new']) await driver.create(name)
  await driver.write('old', 0, Buffer.alloc(3 * MiB, 'o'))
  await driver.fsync('old')
  const { attr } = (await driver.filesystem.lookup(1, Buffer.from('old'), context))!
  await driver.unlink('old')
  const writing = driver.write('new', 0, Buffer.alloc(2 * MiB, 'n'))
  const making = driver.create('another')
  setImmediate(() => driver.filesystem.forget(attr.nodeId, 1))
  await Promise.all([writing, making])

  await driver.filesystem.lookup(1, Buffer.from('new'), context)
  await driver.unlink('new')
  await assert.rejects(driver.write('another', 0, Buffer.alloc(3 * MiB, 'a')), full)
  await assert.rejects(driver.create('one more'), full)
})
