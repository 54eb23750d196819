import assert from 'node:assert'
import test from 'node:test'
import { MiB } from '@qsfs/bytes/units'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { StorError } from '../errors.ts'
import { Vitals } from './vitals.ts'

const statOf = (freeBytes: number | null) =>
  ({ valueCount: 1, usedBytes: 1, freeBytes, durability: 'disk', link: null }) as const

test('errors are counted with the last one; an answer that something is not there is none', () => {
  const clock = new ManualClock()
  const vitals = new Vitals(clock)
  assert.deepStrictEqual([vitals.errorCount, vitals.lastError, vitals.refuses], [0, null, false])
  vitals.failed(new StorError('unavailable', 'b1 is away'))
  vitals.failed(new StorError('missing', 'b1 has no value 7'))
  assert.deepStrictEqual([vitals.errorCount, vitals.lastError?.text], [1, 'b1 is away'])
  assert.strictEqual(vitals.lastError?.atMs, clock.nowMs())
  assert.strictEqual(vitals.refuses, false)
})

test('who refused for want of room is full until it tells of more room, or a minute has passed', async () => {
  const clock = new ManualClock()
  const vitals = new Vitals(clock)
  const refuse = () => vitals.failed(new StorError('full', 'b1: no space left'))
  refuse()
  // Asked before: what it says may be older than the refusal.
  vitals.checked(statOf(900 * MiB), clock.monotonicMs() - 1)
  assert.strictEqual(vitals.refuses, true)
  for (const freeMiB of [50, 50, 50.5, 10]) {
    await clock.advance(1000)
    vitals.checked(statOf(freeMiB * MiB), clock.monotonicMs())
    assert.strictEqual(vitals.refuses, true)
  }
  vitals.checked(statOf(60 * MiB), clock.monotonicMs())
  assert.strictEqual(vitals.refuses, false)
  refuse()
  vitals.checked(statOf(null), clock.monotonicMs())
  await clock.advance(59_000)
  assert.strictEqual(vitals.refuses, true)
  await clock.advance(1000)
  assert.strictEqual(vitals.refuses, false)
})
