import assert from 'node:assert'
import { describe, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { StorError } from '../errors.ts'
import { Health } from './health.ts'

const stat = { valueCount: 1, usedBytes: 2, freeBytes: 3, durability: 'disk' } as const
const limits = { intervalMs: 1000, answerWithinMs: 500, downAfterMs: 3000, upAfterMs: 3000 }

function patient() {
  const clock = new ManualClock()
  const answers = { mode: 'well' as 'well' | 'ill' | 'hangs' }
  const watched = {
    id: 'b1',
    stat: async () => {
      if (answers.mode === 'ill') throw new StorError('unavailable', 'refused')
      if (answers.mode === 'hangs') return new Promise<never>(() => undefined)
      return stat
    },
  }
  const health = new Health([watched], clock, silentLog, limits)
  return { health, answers, pass: (ms: number) => clock.advance(ms) }
}

describe('the health of a backend', () => {
  test('rises at once at the start, falls slowly, and must answer for a while to rise again', async () => {
    const { health, answers, pass } = patient()
    await using _ = health
    assert.strictEqual(health.observe('b1').state, 'unknown')
    health.start()
    await pass(0)
    const up = { state: 'up', reachable: true, stat, statAtMs: 0, note: '', latencyMs: 0, fallCount: 0, upInMs: null }
    assert.deepStrictEqual(health.observe('b1'), { ...up, sinceMs: Date.UTC(2030, 0, 1) })
    answers.mode = 'ill'
    await pass(2000)
    // Not reachable, but not down: somebody may have restarted it.
    assert.strictEqual(health.observe('b1').reachable, false)
    assert.strictEqual(health.isDown('b1'), false)
    await pass(3000)
    assert.strictEqual(health.isDown('b1'), true)
    assert.strictEqual(health.observe('b1').note, 'refused')
    assert.deepStrictEqual(health.observe('b1').stat, stat)
    // First failed at 1 s, down at 4 s.
    assert.deepStrictEqual(health.observe('b1').sinceMs, Date.UTC(2030, 0, 1) + 4000)
    assert.strictEqual(health.downForMs('b1'), 1000)
    answers.mode = 'well'
    await pass(1000)
    assert.strictEqual(health.observe('b1').upInMs, 3000)
    await pass(2000)
    assert.strictEqual(health.isDown('b1'), true)
    await pass(1000)
    assert.strictEqual(health.isDown('b1'), false)
    assert.strictEqual(health.downForMs('b1'), 0)
  })

  test('a lost answer now and then changes nothing; when it is every other one, the backend is down', async () => {
    const { health, answers, pass } = patient()
    await using _ = health
    health.start()
    await pass(0)
    const lose = async (wellMs: number) => {
      answers.mode = 'ill'
      await pass(1000)
      answers.mode = 'well'
      await pass(wellMs)
    }
    for (let round = 0; round < 10; round++) {
      await lose(2000)
      assert.strictEqual(health.isDown('b1'), false)
    }
    for (let round = 0; round < 5; round++) await lose(1000)
    assert.strictEqual(health.isDown('b1'), true)
    // It never answers for long enough.
    for (let round = 0; round < 20; round++) await lose(2000)
    assert.strictEqual(health.isDown('b1'), true)
    await pass(3000)
    assert.strictEqual(health.isDown('b1'), false)
  })

  test('one that keeps falling must answer for twice as long each time, until it has held out', async () => {
    const { health, answers, pass } = patient()
    await using _ = health
    health.start()
    await pass(0)
    const fallAndRise = async () => {
      answers.mode = 'ill'
      while (!health.isDown('b1')) await pass(1000)
      answers.mode = 'well'
      let waitedMs = 0
      for (; health.isDown('b1'); waitedMs += 1000) await pass(1000)
      // The first answer begins it.
      return waitedMs - 1000
    }
    const waited: number[] = []
    for (let round = 0; round < 10; round++) waited.push(await fallAndRise())
    assert.deepStrictEqual(
      waited,
      [3, 6, 12, 24, 48, 96, 192, 384, 600, 600].map(seconds => seconds * 1000),
    )
    assert.strictEqual(health.observe('b1').fallCount, 10)
    await pass(10 * 60 * 1000)
    assert.strictEqual(await fallAndRise(), 3000)
  })

  test('tells how long answers take', async () => {
    const clock = new ManualClock()
    let tookMs = 0
    const answered: number[] = []
    const slow = {
      id: 'b1',
      stat: () => new Promise<typeof stat>(resolve => clock.schedule(tookMs, () => resolve(stat))),
      checked: (_: unknown, askedMs: number) => answered.push(askedMs),
    }
    await using health = new Health([slow], clock, silentLog, limits)
    health.start()
    for (tookMs of [5, 400, 20, 30]) await clock.advance(1100)
    await clock.advance(1000)
    assert.ok([20, 30].includes(health.observe('b1').latencyMs ?? 0), String(health.observe('b1').latencyMs))
    assert.strictEqual(answered[0], 0)
  })

  test('a backend that hangs is as bad as one that refuses', async () => {
    const { health, answers, pass } = patient()
    await using _ = health
    answers.mode = 'hangs'
    health.start()
    await pass(8000)
    assert.strictEqual(health.isDown('b1'), true)
    assert.strictEqual(health.observe('b1').note, 'no answer in time')
  })

  test('a command that does not stay believes its one look', async () => {
    const { health, answers } = patient()
    await using _ = health
    answers.mode = 'ill'
    await health.checkOnce()
    assert.strictEqual(health.isDown('b1'), true)
    answers.mode = 'well'
    await health.checkOnce()
    assert.strictEqual(health.isDown('b1'), false)
  })
})
