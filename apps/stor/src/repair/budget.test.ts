import assert from 'node:assert'
import test from 'node:test'
import type { Clock } from '@qsfs/concurrency/clock'
import { RepairBudget } from './budget.ts'

/** A clock on which every wait is over at once, and counted. */
function hastyClock() {
  const time = { nowMs: 0 }
  const clock: Clock = {
    nowMs: () => time.nowMs,
    monotonicMs: () => time.nowMs,
    schedule(delayMs, action) {
      queueMicrotask(() => {
        time.nowMs += delayMs
        action()
      })
      return () => undefined
    },
  }
  return { clock, time }
}

const limits = { bytesPerSecond: 1000, cpuShare: 0.25, answerWithinMs: 500 }

test('bytes move at the rate that is allowed', async () => {
  const { clock, time } = hastyClock()
  const budget = new RepairBudget(clock, () => false, limits)
  for (let step = 0; step < 5; step++) await budget.take(1000)
  assert.strictEqual(time.nowMs, 4000)
  assert.strictEqual(budget.takenBytes, 5000)
})

test('coding and checking take their part of a core, and no more', async () => {
  const { clock, time } = hastyClock()
  const budget = new RepairBudget(clock, () => false, limits)
  const compute = (ms: number): string =>
    budget.compute(() => {
      time.nowMs += ms
      return 'done'
    })
  assert.strictEqual(compute(10), 'done')
  await budget.take(0)
  assert.strictEqual(time.nowMs, 40)
  for (let step = 0; step < 3; step++) compute(100)
  await budget.take(0)
  assert.strictEqual(time.nowMs, 40 + 1200)
  assert.strictEqual(budget.cpuMs, 310)
  // What was not used is not saved up.
  time.nowMs += 10_000
  compute(10)
  await budget.take(0)
  assert.strictEqual(time.nowMs, 1240 + 10_000 + 40)
})

test('a step stands back while somebody reads, not for ever, and not for an object with nothing left to lose', async () => {
  const { clock, time } = hastyClock()
  let isReading = true
  const budget = new RepairBudget(clock, () => isReading, limits)
  await budget.take(0, { urgent: true })
  assert.strictEqual(time.nowMs, 0)
  await budget.take(0)
  assert.strictEqual(time.nowMs, 250)
  isReading = false
  await budget.take(0)
  assert.strictEqual(time.nowMs, 250)
})

test('a backend that hangs is unavailable after a while; one that answers is not waited for', async () => {
  const { clock } = hastyClock()
  const budget = new RepairBudget(clock, () => false, limits)
  await assert.rejects(budget.within(new Promise(() => undefined)), { reason: 'unavailable' })
  const patient = new RepairBudget({ ...clock, schedule: () => () => undefined }, () => false, limits)
  assert.strictEqual(await patient.within(Promise.resolve(7)), 7)
})
