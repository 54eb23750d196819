import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { Slices } from './slices.ts'

test('the long work of many takes one slice of each turn of the loop, each in its turn', async () => {
  const clock = new ManualClock()
  const ran: number[] = []
  const work = async (number: number) => {
    const slices = new Slices(clock, 2)
    for (let slice = 0; slice < 2; slice++) {
      await slices.pause()
      ran.push(number)
    }
  }
  const works = Promise.all([1, 2, 3].map(work))
  while (ran.length < 6) {
    const before = ran.length
    await nextTurn()
    assert(ran.length - before <= 1, `${ran.length - before} slices ran in one turn`)
  }
  await works
  assert.deepEqual(ran, [1, 2, 3, 1, 2, 3])
})
