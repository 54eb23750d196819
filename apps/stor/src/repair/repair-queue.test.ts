import assert from 'node:assert'
import test from 'node:test'
import type { Clock } from '@qsfs/concurrency/clock'
import { RepairQueue } from './repair-queue.ts'

function queueAt(itemsMax = 10) {
  const time = { nowMs: 0 }
  const clock: Clock = { nowMs: () => time.nowMs, monotonicMs: () => time.nowMs, schedule: () => () => undefined }
  const queue = new RepairQueue(clock, size => Buffer.alloc(size), { itemsMax, firstMs: 1000, maxMs: 60_000 })
  return { queue, time, next: () => queue.take()?.objectId ?? null }
}

test('the thinnest object is first, then the one that came first', () => {
  const { queue, next } = queueAt()
  queue.add('wide', 1)
  queue.add('thin', -1)
  queue.add('wide too', 1)
  queue.add('between', 0)
  assert.deepStrictEqual([next(), next(), next(), next(), next()], ['thin', 'between', 'wide', 'wide too', null])
})

test('one that got thinner goes before; one that failed waits, longer each time, and holds up nobody', () => {
  const { queue, time, next } = queueAt()
  queue.add('a', 1)
  queue.add('b', 1)
  queue.add('b', 0)
  assert.strictEqual(next(), 'b')
  queue.failed('b', 'data2 is down', [3])
  assert.deepStrictEqual([next(), next()], ['a', null])
  queue.done('a')
  assert.deepStrictEqual(queue.reasons, [{ reason: 'data2 is down', count: 1 }])
  assert.deepStrictEqual([queue.size, queue.hinderedCount], [1, 1])
  time.nowMs = 500
  assert.deepStrictEqual([...queue.take()!.suspects], [3])
  queue.failed('b', 'data2 is down', [3])
  time.nowMs = 1400
  assert.strictEqual(next(), null)
  queue.hasten()
  assert.strictEqual(next(), 'b')
  assert.strictEqual(queue.hinderedCount, 0)
  queue.done('b')
  assert.deepStrictEqual([queue.size, queue.thinnestMargin], [0, null])
})

test('what is reported while an object is repaired is looked at after', () => {
  const { queue } = queueAt()
  assert.ok(queue.add('a', 1, [0]))
  assert.ok(!queue.add('a', 1, [0]))
  assert.deepStrictEqual([...queue.take()!.suspects], [0])
  queue.add('a', 1, [2])
  assert.strictEqual(queue.take(), null)
  queue.done('a')
  assert.deepStrictEqual([...queue.take()!.suspects], [2])
  queue.done('a')
  assert.strictEqual(queue.size, 0)
})

test('it holds so many and no more; the survey comes again', () => {
  const { queue } = queueAt(2)
  for (const id of ['a', 'b', 'c']) queue.add(id, 1)
  assert.deepStrictEqual([queue.size, queue.refusedCount], [2, 1])
  queue.forget('a')
  assert.ok(queue.add('c', 1))
})

test('progress counts from when the queue was empty last', () => {
  const { queue } = queueAt()
  const finish = () => queue.done(queue.take()!.objectId)
  for (const id of ['a', 'b', 'c']) queue.add(id, 0)
  finish()
  queue.forget('b')
  assert.deepStrictEqual([queue.doneCount, queue.size], [2, 1])
  finish()
  assert.deepStrictEqual([queue.doneCount, queue.size], [3, 0])
  queue.add('d', 0)
  assert.deepStrictEqual([queue.doneCount, queue.size], [0, 1])
})
