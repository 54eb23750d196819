import assert from 'node:assert'
import { describe, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { StorError } from '../errors.ts'
import { Health } from './health.ts'

const stat = { valueCount: 1, usedBytes: 2, freeBytes: 3, durability: 'disk' } as const
const limits = { intervalMs: 1000, answerWithinMs: 500, downAfterMs: 3000 }

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
  test('rises at once at the start, falls slowly, and must answer twice to rise again', async () => {
    const { health, answers, pass } = patient()
    await using _ = health
    assert.strictEqual(health.observe('b1').state, 'unknown')
    health.start()
    await pass(0)
    assert.deepStrictEqual(health.observe('b1'), { state: 'up', reachable: true, stat, statAtMs: 0, note: '' })
    answers.mode = 'ill'
    await pass(2000)
    // Not reachable, but not down: somebody may have restarted it.
    assert.strictEqual(health.observe('b1').reachable, false)
    assert.strictEqual(health.isDown('b1'), false)
    await pass(3000)
    assert.strictEqual(health.isDown('b1'), true)
    assert.strictEqual(health.observe('b1').note, 'refused')
    assert.deepStrictEqual(health.observe('b1').stat, stat)
    answers.mode = 'well'
    await pass(1000)
    assert.strictEqual(health.isDown('b1'), true)
    await pass(1000)
    assert.strictEqual(health.isDown('b1'), false)
  })

  test('one lost answer changes nothing', async () => {
    const { health, answers, pass } = patient()
    await using _ = health
    health.start()
    await pass(0)
    for (let round = 0; round < 5; round++) {
      answers.mode = 'ill'
      await pass(1000)
      answers.mode = 'well'
      await pass(1000)
      assert.strictEqual(health.isDown('b1'), false)
    }
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
