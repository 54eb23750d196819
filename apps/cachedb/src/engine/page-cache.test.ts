import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PageCache } from './page-cache.ts'
import { Segment } from './shelf/segment.ts'

const segment = (id: number) =>
  Object.assign(Object.create(Segment.prototype) as Segment, { id, state: 'closed' as const })

test('a slow read sends its segment to the thread pool for a while, and all others for ten times as long as it took', () => {
  let blocksRead = 7
  const cache = new PageCache(() => blocksRead)
  const [cold, warm] = [segment(0), segment(1)]
  assert(cache.mayHold(cold, 0) && cache.mayHold(warm, 0))
  cache.noteRead(warm, 0.1, 1)
  assert(cache.mayHold(warm, 1))
  blocksRead++
  cache.noteRead(cold, 8, 10)
  assert(!cache.mayHold(cold, 89) && !cache.mayHold(warm, 89))
  assert(!cache.mayHold(cold, 259) && cache.mayHold(warm, 90))
  assert(cache.mayHold(cold, 260))
})

test('a read is slow for want of a processor when no block was read; the third in a row is not believed', () => {
  const cache = new PageCache(() => 7)
  const warm = segment(1)
  for (const tookMs of [5, 5, 0.1, 5, 5]) {
    cache.noteRead(warm, tookMs, 10)
    assert(cache.mayHold(warm, 10))
  }
  cache.noteRead(warm, 5, 10)
  assert(!cache.mayHold(warm, 10))
})
