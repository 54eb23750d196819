import assert from 'node:assert'
import { test } from 'node:test'
import { FuseError } from '@qsfs/fuse/errno'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { Inode } from '../tree/inode.ts'
import type { DirtyWindow } from './dirty-window.ts'
import { windowBytes } from './extents.ts'
import { FileFailure } from './file-buffer.ts'
import { WindowPool } from './window-pool.ts'
import { WriteBuffer } from './write-buffer.ts'

const limits = {
  dirtyBytesMax: 4 * windowBytes,
  waitingBytesMax: 4 * windowBytes,
  writeWaitMs: 30_000,
  flushesMax: 2,
  flushDelayMs: 1000,
}

/** A buffer whose flushes settle when the test says so. */
function setUp() {
  const clock = new ManualClock()
  const stores: { inode: Inode; window: DirtyWindow; settle: PromiseWithResolvers<void> }[] = []
  const store = (inode: Inode, window: DirtyWindow) => {
    const settle = Promise.withResolvers<void>()
    stores.push({ inode, window, settle })
    return settle.promise
  }
  const pool = new WindowPool({ answered: 0, synced: 0 }, { restingBytesMax: 8 * windowBytes })
  const buffer = new WriteBuffer(clock, pool, store, limits)
  const inode = new Inode(2, 0o100644, { seconds: 0, nanos: 0 })
  return { clock, stores, buffer, inode }
}

const full = Buffer.alloc(windowBytes, 1)
const turn = () => new Promise(resolve => setImmediate(resolve))

test('a write that finds the buffer full waits, and goes on when a flush made room', async () => {
  const { buffer, inode, stores } = setUp()
  for (let index = 0; index < 4; index++) {
    assert.strictEqual(buffer.write(inode, index * windowBytes, full), undefined)
  }
  assert.strictEqual(stores.length, 2, 'as many flushes as allowed')
  let isAnswered = false
  const waiting = buffer.write(inode, 4 * windowBytes, full)
  assert(waiting instanceof Promise)
  void waiting.then(() => {
    isAnswered = true
  })
  assert.strictEqual(buffer.waitingBytes, windowBytes)
  await turn()
  assert.strictEqual(isAnswered, false)
  stores[0]!.settle.resolve()
  await waiting
  assert.strictEqual(buffer.waitingBytes, 0)
  assert.strictEqual(stores.length, 3, 'the next flush began')
})

test('a waiting write is answered at its deadline', async () => {
  const { buffer, clock, inode } = setUp()
  for (let index = 0; index < 4; index++) buffer.write(inode, index * windowBytes, full)
  const waiting = buffer.write(inode, 4 * windowBytes, full)
  const refused = assert.rejects(async () => waiting, { code: 'EIO' })
  await clock.advance(limits.writeWaitMs)
  await refused
  assert.strictEqual(buffer.waitingBytes, 0)
})

test('writes beyond the queue are refused at once', () => {
  const { buffer, inode } = setUp()
  for (let index = 0; index < 4; index++) buffer.write(inode, index * windowBytes, full)
  for (let index = 4; index < 8; index++) void buffer.write(inode, index * windowBytes, full)
  assert.throws(() => buffer.write(inode, 8 * windowBytes, full), { code: 'EIO' })
})

test('what cannot be stored is kept, tells fsync and later writes why, and is tried again', async () => {
  const { buffer, clock, inode, stores } = setUp()
  buffer.write(inode, 0, Buffer.from('old old'))
  const first = buffer.flush(inode)
  const refused = assert.rejects(async () => first, { code: 'ENOSPC' })
  buffer.write(inode, 4, Buffer.from('new'))
  stores[0]!.settle.reject(new FuseError('ENOSPC'))
  await refused
  assert.throws(() => buffer.write(inode, 100, Buffer.from('x')), { code: 'ENOSPC' })
  await clock.advance(1000)
  assert.strictEqual(stores.length, 2, 'tried again')
  assert.strictEqual(stores[1]!.window.view(0, 7).toString(), 'old new')
  const second = buffer.flush(inode)
  stores[1]!.settle.resolve()
  await second
  assert.strictEqual(buffer.dirtyBytes, 0)
  assert.strictEqual(inode.buffer, null)
  assert.strictEqual(inode.pins, 0)
})

test('after the store has ended every write is refused, for good', async () => {
  const { buffer, clock, inode, stores } = setUp()
  buffer.write(inode, 0, full)
  stores[0]!.settle.reject(new FuseError('EROFS'))
  await turn()
  for (let i = 0; i < 3; i++) {
    assert.throws(() => buffer.write(inode, 100, Buffer.from('x')), { code: 'EROFS' })
    await clock.advance(2000)
  }
  assert.strictEqual(stores.length, 1, 'not tried again')
})

test('a file that cannot be stored holds up no other', async () => {
  const { buffer, clock, inode, stores } = setUp()
  const other = new Inode(3, 0o100644, { seconds: 0, nanos: 0 })
  buffer.write(inode, 0, Buffer.from('unlucky'))
  const first = buffer.flush(inode)
  const refused = assert.rejects(async () => first, { code: 'EIO' })
  stores[0]!.settle.reject(new FileFailure(new FuseError('EIO')))
  await refused
  assert.throws(() => buffer.write(inode, 100, Buffer.from('x')), { code: 'EIO' })
  assert.strictEqual(buffer.failure, null)

  assert.strictEqual(buffer.write(other, 0, full), undefined)
  assert.strictEqual(stores.length, 2)
  stores[1]!.settle.resolve()
  await turn()
  assert.strictEqual(other.buffer, null)

  // More than half of the buffer: everything idle is stored, but that file is not tried yet.
  for (let index = 0; index < 3; index++) buffer.write(other, index * windowBytes, full)
  for (const { settle } of stores.slice(2)) settle.resolve()
  await turn()
  assert.ok(stores.slice(1).every(store => store.inode === other))
  for (const { settle } of stores.slice(2)) settle.resolve()
  await turn()
  const storeCount = stores.length
  await clock.advance(2000)
  assert.strictEqual(stores.length, storeCount + 1, 'tried again')
  stores.at(-1)!.settle.resolve()
  await turn()
  assert.strictEqual(buffer.dirtyBytes, 0)
})

test('bytes cut off while they are on their way are forgotten', async () => {
  const { buffer, inode, stores } = setUp()
  buffer.write(inode, 0, full)
  assert.strictEqual(stores.length, 1)
  buffer.subtract(inode, 100, Number.MAX_SAFE_INTEGER)
  assert.deepStrictEqual(stores[0]!.window.ranges, [{ start: 0, end: 100 }])
  stores[0]!.settle.resolve()
  await turn()
  assert.strictEqual(buffer.dirtyBytes, 0)
})

test('windows that do not get full are stored after a while', async () => {
  const { buffer, clock, inode, stores } = setUp()
  buffer.write(inode, 10, Buffer.from('a few'))
  await clock.advance(900)
  assert.strictEqual(stores.length, 0)
  await clock.advance(700)
  assert.strictEqual(stores.length, 1)
  stores[0]!.settle.resolve()
})

test('writes that fail while nothing can be stored do not add up for ever', async () => {
  const { buffer, clock, inode } = setUp()
  let takenCount = 0
  for (let index = 0; index < 40; index++) {
    try {
      const written = buffer.write(inode, index * windowBytes, full)
      takenCount++
      if (written === undefined) continue
      const failed = assert.rejects(written)
      await clock.advance(limits.writeWaitMs)
      await failed
    } catch (error) {
      assert(error instanceof FuseError && error.code === 'EIO')
    }
  }
  assert(takenCount <= 17, `${takenCount} windows taken`)
})
