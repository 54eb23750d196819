import assert from 'node:assert'
import test from 'node:test'
import { inLanes } from './lanes.ts'

test('so many at a time, each item once', async () => {
  const seen: number[] = []
  let [running, most] = [0, 0]
  await inLanes(3, [1, 2, 3, 4, 5, 6, 7], async item => {
    most = Math.max(most, ++running)
    await new Promise(setImmediate)
    running--
    seen.push(item)
  })
  assert.deepStrictEqual(
    seen.sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7],
  )
  assert.strictEqual(most, 3)
})

test('after a failure what was begun ends, and nothing more is begun', async () => {
  const [begun, ended]: number[][] = [[], []]
  const work = async (item: number) => {
    begun!.push(item)
    await new Promise(setImmediate)
    ended!.push(item)
    if (item === 1) throw new Error('one')
  }
  await assert.rejects(inLanes(2, [1, 2, 3, 4, 5], work), { message: 'one' })
  assert.deepStrictEqual([begun, ended], [ended, begun])
  assert.ok(begun!.length < 5)
})
