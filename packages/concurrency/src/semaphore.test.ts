import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Permit, Semaphore } from './semaphore.ts'

const turn = () => new Promise(resolve => setImmediate(resolve))

test('at most the limit at once, in the order of asking, the heavy not overtaken', async () => {
  const semaphore = new Semaphore(4)
  const order: string[] = []
  const first = await semaphore.acquire(3)
  const admitted = (name: string) => (permit: Permit) => {
    order.push(name)
    return permit
  }
  const heavy = semaphore.acquire(3).then(admitted('heavy'))
  const light = semaphore.acquire(1).then(admitted('light'))
  assert.equal(semaphore.tryAcquire(1), null)
  assert.equal(semaphore.waiting, 2)
  await turn()
  assert.deepEqual(order, [])
  first.release()
  const held = [await heavy, await light]
  assert.deepEqual(order, ['heavy', 'light'])
  assert.equal(semaphore.available, 0)
  for (const permit of held) permit.release()
  assert.equal(semaphore.available, 4)
})

test('releasing twice gives back once, and using releases', async () => {
  const semaphore = new Semaphore(2)
  const permit = await semaphore.acquire()
  permit.release()
  permit.release()
  assert.equal(semaphore.available, 2)
  {
    using _held = await semaphore.acquire(2)
    assert.equal(semaphore.available, 0)
  }
  assert.equal(semaphore.available, 2)
})

test('what is heavier than the limit runs alone', async () => {
  const semaphore = new Semaphore(2)
  const permit = await semaphore.acquire(100)
  assert.equal(permit.weight, 2)
  assert.equal(semaphore.tryAcquire(), null)
  permit.release()
  assert.equal(semaphore.available, 2)
})

test('who gives up leaves the line to those behind', async () => {
  const semaphore = new Semaphore(2)
  using _held = await semaphore.acquire(1)
  const leaving = new AbortController()
  const heavy = semaphore.acquire(2, { signal: leaving.signal })
  const light = semaphore.acquire(1)
  leaving.abort(new Error('left'))
  await assert.rejects(heavy, { message: 'left' })
  ;(await light).release()
  assert.equal(semaphore.available, 1)
  await assert.rejects(semaphore.acquire(2, { signal: leaving.signal }), { message: 'left' })
  assert.equal(semaphore.waiting, 0)
})
