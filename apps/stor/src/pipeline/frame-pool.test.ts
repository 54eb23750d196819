import assert from 'node:assert'
import { createHash } from 'node:crypto'
import test, { after } from 'node:test'
import { StreamDigest } from './digest.ts'
import type { EncodeJob } from './frame-jobs.ts'
import { FramePool, SlotPool } from './frame-pool.ts'

const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

const badJob: EncodeJob = {
  ...{
    kind: 'encode',
    fd: -1,
    positionBytes: 0,
    plainBytes: 10,
    plainAtBytes: 0,
    slot: new SharedArrayBuffer(10),
    compress: true,
    verify: true,
  },
  keys: { objectId: Buffer.alloc(16), framesKey: Buffer.alloc(32), piecesKey: Buffer.alloc(32) },
  ...{ dataShards: 2, totalShards: 3, place: { frameNumber: 0, attachment: false, last: true } },
}

test('what the file system refuses is told as such; what only a bug can break is not', async () => {
  await assert.rejects(
    pool.run(badJob),
    error => !('reason' in (error as object)) && /out of range/.test(String(error)),
  )
  await assert.rejects(pool.run({ ...badJob, fd: 987_654 }), { reason: 'file', message: /EBADF/ })
  await assert.rejects(pool.run({ ...badJob, plainBytes: 0, dataShards: 0 }), { name: 'Error', message: /data and/ })
  // The workers live on.
  await assert.rejects(pool.run({ ...badJob, fd: 987_654 }), { reason: 'file' })
})

test('a worker that dies fails the jobs it had, and the next job starts another', async () => {
  const { keys, place, slot } = badJob
  const decode = { kind: 'decode', keys, place, slot, target: null, dataShards: 2, totalShards: 3 } as const
  const entry = { plainBytes: 10, sealedBytes: 26, coding: 0 } as const
  // More pieces than its heap has room for.
  const dying = pool.run({ ...decode, entry, shardIndexes: new Array<number>(2_000_000).fill(0) })
  await assert.rejects(dying, { code: 'ERR_WORKER_OUT_OF_MEMORY' })
  for (let round = 0; round < 3; round++) await assert.rejects(pool.run({ ...badJob, fd: 987_654 }), { reason: 'file' })
})

test('a stream of digests that lost a part is an error, never a digest of the rest', async () => {
  const slots = new SlotPool(1)
  using slot = await slots.take(10)
  slot.bytes.write('abcdefghij')
  const whole = new StreamDigest(pool, { blake2b: false })
  await Promise.all([whole.update(slot, 0, 4), whole.update(slot, 4, 6)])
  const expected = createHash('sha256').update('abcdefghij').digest()
  assert.deepEqual(Buffer.from((await whole.finish()).sha256), expected)
  await assert.rejects(whole.finish(), /lost a part/)
  const part = { kind: 'digest-part', stream: pool.nextStream(), blake2b: false, slot: slot.memory } as const
  await assert.rejects(pool.run({ ...part, partNumber: 1, atBytes: 0, lengthBytes: 1 }), /lost a part/)
})

test('slots are lent in order, grow when they must, and are used again', async () => {
  const slots = new SlotPool(2)
  const first = await slots.take(100)
  const second = await slots.take(100)
  const order: string[] = []
  const third = slots.take(50).then(slot => {
    order.push('third')
    return slot
  })
  const fourth = slots.take(500).then(slot => {
    order.push('fourth')
    return slot
  })
  await new Promise(resolve => setImmediate(resolve))
  assert.deepEqual(order, [])
  second[Symbol.dispose]()
  assert.equal((await third).memory, second.memory)
  first[Symbol.dispose]()
  assert.equal((await fourth).bytes.length, 500)
  assert.deepEqual(order, ['third', 'fourth'])
  const abort = new AbortController()
  const waiting = slots.take(1, { signal: abort.signal })
  abort.abort(new Error('no longer wanted'))
  await assert.rejects(waiting, /no longer wanted/)
})

test('a pool that is disposed of ends its threads', async () => {
  const short = new FramePool()
  short.warm()
  await short[Symbol.asyncDispose]()
  await short[Symbol.asyncDispose]()
  assert.throws(() => short.run(badJob), assert.AssertionError)
})
