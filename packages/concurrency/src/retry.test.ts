import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { Backoff } from './backoff.ts'
import { delay, systemClock } from './clock.ts'
import { retry } from './retry.ts'

const random = prngFromSeed(1).bytes

test('pauses double up to the maximum and are short again after a success', () => {
  const backoff = new Backoff({ firstMs: 100, maxMs: 500, random })
  const within = (pauseMs: number, ceilingMs: number) =>
    assert.ok(pauseMs >= ceilingMs / 2 && pauseMs <= ceilingMs, `${pauseMs} of ${ceilingMs}`)
  for (const ceilingMs of [100, 200, 400, 500, 500]) within(backoff.next(), ceilingMs)
  backoff.reset()
  within(backoff.next(), 100)
})

test('a retry ends with success, with the last error, or with an error that is final', async () => {
  const clock = new ManualClock()
  const options = {
    firstMs: 10,
    maxMs: 1000,
    random,
    attemptsMax: 3,
    isWorthRetrying: (error: unknown) => (error as Error).message !== 'final',
  }
  const outcome = async (attempt: (attemptIndex: number) => Promise<string>) => {
    const result = retry(clock, attempt, options).catch(error => `failed: ${error.message}`)
    await clock.advance(5000)
    return result
  }
  assert.equal(await outcome(async i => (i < 2 ? Promise.reject(new Error('again')) : `attempt ${i}`)), 'attempt 2')
  assert.equal(await outcome(async i => Promise.reject(new Error(`attempt ${i}`))), 'failed: attempt 2')
  let attempts = 0
  const fail = async () => {
    attempts++
    throw new Error('final')
  }
  assert.equal(await outcome(fail), 'failed: final')
  assert.equal(attempts, 1)
  assert.equal(clock.pendingCount, 0)
})

test('an abort ends the pause', async () => {
  const clock = new ManualClock()
  const stopping = new AbortController()
  const limits = {
    firstMs: 10,
    maxMs: 10,
    random,
    attemptsMax: 9,
    isWorthRetrying: () => true,
    signal: stopping.signal,
  }
  const result = retry(clock, () => Promise.reject(new Error('again')), limits)
  result.catch(() => undefined)
  await clock.advance(0)
  stopping.abort(new Error('stopped'))
  await assert.rejects(result, { message: 'stopped' })
  assert.equal(clock.pendingCount, 0)
})

test('the real clock goes forward and its timers can be cancelled', async () => {
  const before = systemClock.monotonicMs()
  const cancel = systemClock.schedule(5, () => assert.fail('cancelled'))
  cancel()
  const alive = setTimeout(() => undefined, 10_000)
  await delay(systemClock, 20)
  clearTimeout(alive)
  assert.ok(systemClock.monotonicMs() > before)
  assert.ok(Math.abs(systemClock.nowMs() - Date.now()) < 60_000)
})
