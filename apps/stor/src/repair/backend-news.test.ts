import assert from 'node:assert'
import test from 'node:test'
import type { Fleet } from '../backend/fleet.ts'
import { BackendNews } from './backend-news.ts'

/** News of one backend that says it holds so many values. */
function watched(holds: () => number, statAtMs = () => 0) {
  const observation = () => ({ reachable: true, stat: { valueCount: holds() }, statAtMs: statAtMs() })
  const no = () => false
  const fleet = { data: [{ backend: { name: 'b' } }], observeData: observation, isGivenUp: no, isDown: no }
  return new BackendNews(fleet as unknown as Fleet)
}

test('a backend that lost its disk is noticed, also when something was stored there before it was asked', () => {
  for (const left of [0, 3]) {
    let valueCount = 1000
    const news = watched(() => valueCount)
    assert.deepStrictEqual([...news.look()], [])
    valueCount = 900
    assert.deepStrictEqual([...news.look()], [])
    valueCount = left
    const seen = news.look()
    assert.deepStrictEqual([[...seen], news.wasEmptied('b')], [['b'], true])
    // It stays so until the records were looked through.
    valueCount = left + 10
    assert.deepStrictEqual([[...news.look()], news.wasEmptied('b')], [['b'], true])
    news.surveyed(seen)
    assert.deepStrictEqual([[...news.look()], news.wasEmptied('b')], [[], false])
  }
})

test('a new backend that loses its first shards before it was seen to hold any is noticed too', () => {
  let statAtMs = 10
  const news = watched(
    () => 0,
    () => statAtMs,
  )
  news.surveyed(news.look())
  assert.deepStrictEqual([...news.look()], [])
  news.filled(['b'], 20)
  // What was seen before it got them says nothing.
  assert.deepStrictEqual([...news.look()], [])
  news.filled(['b'], 30)
  statAtMs = 21
  assert.deepStrictEqual([[...news.look()], news.wasEmptied('b')], [['b'], true])
})
