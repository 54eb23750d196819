import assert from 'node:assert'
import { describe, test } from 'node:test'
import { ReadLatencies } from './read-latency.ts'

const all = ['a', 'b', 'c', 'd', 'e', 'f']
const four = all.slice(0, 4)

function measured(times: Readonly<Record<string, number>>, readCount = 20): ReadLatencies {
  const latencies = new ReadLatencies()
  for (let i = 0; i < readCount; i++) {
    for (const [name, tookMs] of Object.entries(times)) {
      latencies.asked(name, 0)
      latencies.answered(name, tookMs)
    }
  }
  return latencies
}

describe('read latencies', () => {
  test('a spare is asked after the tail of the slowest one chosen, from 20 ms to 1 s', () => {
    const spareAfterMs = (times: Record<string, number>) => measured(times).spareAfterMs(four, all)
    assert.strictEqual(spareAfterMs({ a: 1, b: 2, c: 1, d: 3 }), 20)
    assert.strictEqual(spareAfterMs({ a: 80, b: 70, c: 90, d: 85 }), 90)
    assert.strictEqual(spareAfterMs({ a: 8000, b: 8000, c: 8000, d: 8000 }), 1000)
    assert.strictEqual(spareAfterMs({}), 200)
    // One in twenty may be late before it counts.
    const latencies = measured({ a: 30, b: 30, c: 30, d: 30 }, 31)
    latencies.answered('a', 900)
    assert.strictEqual(latencies.spareAfterMs(four, all), 30)
  })

  test('who lags is not waited for, and is tried again after a while', () => {
    const latencies = measured({ a: 23, b: 3, c: 3, d: 3, e: 3 })
    assert.deepStrictEqual([...latencies.laggards(all, 100)], [['a', 23]])
    assert.strictEqual(latencies.spareAfterMs(four, all), 20)
    assert.deepStrictEqual([...latencies.laggards(all, 5000)], [])
    latencies.asked('a', 5000)
    assert.deepStrictEqual([...latencies.laggards(all, 5001)], [['a', 23]])
    for (let i = 0; i < 5; i++) latencies.answered('a', 3)
    assert.deepStrictEqual([...latencies.laggards(all, 5001)], [])
  })

  test('one of few that are known lags, and none of many alike', () => {
    assert.deepStrictEqual([...measured({ a: 22, b: 2, c: 2, d: 2 }).laggards(all, 1)], [['a', 22]])
    assert.strictEqual(measured({ a: 500 }).laggards(all, 1).size, 0)
    assert.strictEqual(measured({ a: 50, b: 45, c: 60, d: 40 }).laggards(all, 1).size, 0)
  })

  test('an answer nobody waited for counts only when it was late already', () => {
    const latencies = measured({ a: 10 })
    latencies.abandoned('a', 4)
    assert.strictEqual(latencies.typicalMs('a'), 10)
    for (let i = 0; i < 8; i++) latencies.abandoned('a', 40)
    assert.ok(latencies.typicalMs('a')! >= 80)
    latencies.abandoned('hangs', 5)
    assert.strictEqual(latencies.typicalMs('hangs'), null)
  })

  test('who leaves two reads in a row unanswered lags at once, until it answers', () => {
    const latencies = measured({ a: 10, b: 10, c: 10, d: 10 })
    latencies.abandoned('a', 50)
    assert.strictEqual(latencies.laggards(all, 1).size, 0)
    latencies.abandoned('a', 50)
    assert.deepStrictEqual([...latencies.laggards(all, 1)], [['a', 100]])
    latencies.answered('a', 10)
    assert.strictEqual(latencies.laggards(all, 1).size, 0)
  })

  test('spares for slowness are few: one for ten reads', () => {
    const latencies = measured({ a: 30, b: 30, c: 30, d: 30 })
    for (let i = 0; i < 16; i++) {
      assert.strictEqual(latencies.spareAfterMs(four, all), 30)
      latencies.spareAsked()
    }
    // Then only for one that is silent.
    assert.strictEqual(latencies.spareAfterMs(four, all), 1000)
    latencies.spareAsked()
    for (let i = 0; i < 11; i++) latencies.asked('b', i)
    assert.strictEqual(latencies.spareAfterMs(four, all), 30)
  })
})
