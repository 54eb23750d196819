import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { BoundedQueue } from './bounded-queue.ts'
import { KeyedMutex } from './keyed-mutex.ts'
import { SingleFlight } from './single-flight.ts'

const turn = () => new Promise(resolve => setImmediate(resolve))

test('a mutex runs one at a time per key, in order, and forgets its keys', async t => {
  const prng = seededPrng(t)
  const mutex = new KeyedMutex<string>()
  const running = new Map<string, number>()
  const order = new Map<string, number[]>([
    ['a', []],
    ['b', []],
  ])
  const calls = Array.from({ length: 200 }, (_, i) => {
    const key = prng.pick(['a', 'b'])
    const turns = prng.below(3)
    const fails = prng.chance(0.2)
    return mutex.run(key, async () => {
      assert.equal(running.get(key) ?? 0, 0)
      running.set(key, 1)
      order.get(key)!.push(i)
      for (let n = 0; n < turns; n++) await turn()
      running.set(key, 0)
      if (fails) throw new Error('on purpose')
    })
  })
  await Promise.allSettled(calls)
  for (const seen of order.values())
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
    )
  assert.equal(mutex.size, 0)
  assert.equal(await mutex.run('a', () => 5), 5)
})

test('callers share one flight and its failure; the next one starts anew', async () => {
  const flights = new SingleFlight<string, number>()
  let started = 0
  const gate = Promise.withResolvers<number>()
  const start = () => {
    started++
    return gate.promise
  }
  const both = [flights.run('a', start), flights.run('a', start)]
  const other = flights.run('b', async () => 2)
  assert.equal(flights.isRunning('a'), true)
  assert.equal(await other, 2)
  gate.reject(new Error('lost'))
  for (const call of both) await assert.rejects(call, { message: 'lost' })
  assert.equal(started, 1)
  assert.equal(flights.size, 0)
  assert.equal(await flights.run('a', async () => 1), 1)
  await assert.rejects(
    flights.run('c', () => {
      throw new Error('at once')
    }),
    { message: 'at once' },
  )
  assert.equal(flights.size, 0)
})

test('a queue makes producers wait for room and consumers for items', async () => {
  const queue = new BoundedQueue<string>({ capacityMax: 10, weightOf: text => text.length })
  await queue.push('four')
  await queue.push('sixsix')
  assert.equal(queue.tryPush('x'), false)
  const late = queue.push('late')
  await turn()
  assert.equal(queue.length, 2)
  assert.equal(await queue.take(), 'four')
  await late
  queue.end()
  await assert.rejects(queue.push(''), /ended/)
  const rest: string[] = []
  for await (const item of queue) rest.push(item)
  assert.deepEqual(rest, ['sixsix', 'late'])
  assert.equal(await queue.take(), undefined)
})

test('a consumer that waits is served at once, and told of the end', async () => {
  const queue = new BoundedQueue<number>({ capacityMax: 1 })
  const first = queue.take()
  const second = queue.take()
  assert.equal(queue.tryPush(1), true)
  assert.equal(await first, 1)
  queue.end()
  assert.equal(await second, undefined)
  assert.equal(queue.tryPush(2), false)
})
