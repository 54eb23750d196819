import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { Wakefulness, type WakefulnessOptions } from './wakefulness.ts'

/** The clock stands until it is moved. */
function wakefulnessOf(options: WakefulnessOptions) {
  const clock = new ManualClock()
  const wakefulness = new Wakefulness(clock, options)
  const happen = () => {
    wakefulness.came()
    wakefulness.stay()
  }
  return { clock, wakefulness, happen }
}

/** Whether something keeps the event loop from sleeping. */
async function isAwake(): Promise<boolean> {
  await turn()
  return process.getActiveResourcesInfo().includes('Immediate')
}

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

test('awake for pollUs after what came, and after what was done later', async () => {
  const { clock, wakefulness, happen } = wakefulnessOf({ pollUs: 100 })
  assert.equal(await isAwake(), false)
  happen()
  assert.equal(await isAwake(), true)
  await clock.advance(0.09)
  assert.equal(await isAwake(), true)
  await clock.advance(0.02)
  await turn()
  assert.equal(await isAwake(), false)
  wakefulness.stay()
  assert.equal(await isAwake(), true)
  await clock.advance(0.2)
  await turn()
})

test('asleep at once when polling is off, or while the processor is better left to others', async () => {
  const off = wakefulnessOf({ pollUs: 0 })
  off.happen()
  assert.equal(await isAwake(), false)
  let mayPoll = false
  const on = wakefulnessOf({ pollUs: 100, mayPoll: () => mayPoll })
  on.happen()
  await turn()
  assert.equal(await isAwake(), false)
  mayPoll = true
  on.wakefulness.stay()
  assert.equal(await isAwake(), true)
  await on.clock.advance(0.2)
  await turn()
})

test('after 32 gaps that polling did not bridge it sleeps at once, until a gap is short', async () => {
  const { clock, happen } = wakefulnessOf({ pollUs: 100 })
  for (let i = 0; i < 32; i++) {
    await clock.advance(0.9)
    await turn()
    happen()
    assert.equal(await isAwake(), i < 31, `after ${i + 1} gaps`)
  }
  await clock.advance(0.05)
  happen()
  assert.equal(await isAwake(), true)
  await clock.advance(0.2)
  await turn()
})

test('a turn that took a millisecond means others want the processor: polling pauses', async () => {
  const { clock, happen, wakefulness } = wakefulnessOf({ pollUs: 5000 })
  happen()
  assert.equal(await isAwake(), true)
  await clock.advance(1.5)
  await turn()
  assert.equal(await isAwake(), false)
  happen()
  assert.equal(await isAwake(), false)
  await clock.advance(100)
  wakefulness.stay()
  assert.equal(await isAwake(), true)
  await clock.advance(2)
  await turn()
})
