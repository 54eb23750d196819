import assert from 'node:assert'
import { test } from 'node:test'
import type { MetadataLog } from './metadata-log.ts'
import { type CachedRecord, RecordCache } from './record-cache.ts'

const KiB = 1024

function cacheOf(bytesMax: number): RecordCache {
  const log = { read: () => null, touch: () => undefined } as unknown as MetadataLog
  return new RecordCache(log, { bytesMax })
}

function record(key: string, isPinned = false): CachedRecord {
  return { key, isPinned, memoryBytes: KiB, encode: () => null }
}

/** Which of these are in memory; looking at one counts as a look. */
function here(cache: RecordCache, keys: readonly string[]): string[] {
  return keys.filter(key => {
    let isHere = true
    cache.get(key, () => {
      isHere = false
      return record(key)
    })
    return isHere
  })
}

const keysOf = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}${index}`)

test('a walk over many inodes leaves the buckets of directories in memory, and all stays below the limit', () => {
  const cache = cacheOf(200 * KiB)
  const buckets = keysOf('d1.', 80)
  for (const key of buckets) cache.put(record(key))
  for (let index = 0; index < 2000; index++) {
    cache.put(record(`i${index}`))
    if (index % 20 === 0) cache.trim()
  }
  cache.trim()
  assert(cache.memoryBytes <= 200 * KiB)
  assert.deepStrictEqual(here(cache, buckets), buckets)
})

test('directories alone keep below the limit too', () => {
  const cache = cacheOf(200 * KiB)
  for (let index = 0; index < 2000; index++) {
    cache.put(record(`d1.${index}`))
    if (index % 20 === 0) cache.trim()
  }
  cache.put(record('i1'))
  // Once for the marks of those that were just looked at.
  cache.trim()
  cache.trim()
  assert(cache.memoryBytes <= 200 * KiB)
  assert(cache.count > 80, `${cache.count} records`)
})

test('what is pinned or not yet encoded stays, what was looked at stays longer', () => {
  const cache = cacheOf(50 * KiB)
  cache.put(record('i0', true))
  cache.touch(record('i1'))
  for (let index = 2; index < 500; index++) {
    cache.put(record(`i${index}`))
    assert.deepStrictEqual(here(cache, ['i2']), ['i2'])
    if (index % 10 === 0) cache.trim()
  }
  assert.deepStrictEqual(here(cache, ['i0', 'i1']), ['i0', 'i1'])
  assert(cache.count < 60, `${cache.count} records`)
})
