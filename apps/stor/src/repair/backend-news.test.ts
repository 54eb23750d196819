import assert from 'node:assert'
import test from 'node:test'
import type { Fleet } from '../backend/fleet.ts'
import { BackendNews } from './backend-news.ts'

/** News of one backend that says it holds so many values. */
function watched(holds: () => number) {
  const observation = () => ({ reachable: true, stat: { valueCount: holds() } })
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
