import { deepEqual, equal, notEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { BulkPool } from './bulk-pool.ts'

test('memory comes back once, and only its own', () => {
  const pool = new BulkPool()
  const first = pool.take(100_000)
  equal(first.length, 100_000)
  equal(pool.isLent(first), true)
  pool.give(first)
  equal(pool.isLent(first), false)
  pool.give(first)
  equal(pool.spareBytes, 131_072)
  const [second, third] = [pool.take(131_072), pool.take(70_000)]
  equal(second.buffer, first.buffer)
  notEqual(third.buffer, first.buffer)
  pool.give(Buffer.alloc(100_000))
  pool.give(pool.take(100))
  equal(pool.spareBytes, 0)
})

test('what is kept has a limit', () => {
  const pool = new BulkPool()
  const many = Array.from({ length: 10 }, () => pool.take(8 * 1024 * 1024))
  for (const bulk of many) pool.give(bulk)
  equal(pool.spareBytes, 16 * 1024 * 1024)
})

test('what is kept of one size makes room for another', () => {
  const pool = new BulkPool({ spareBytesMax: 1024 * 1024 })
  const lent = Array.from({ length: 4 }, () => pool.take(100_000))
  for (const bulk of lent) pool.give(bulk)
  const spareBytes = pool.spareBytes
  pool.take(200_000)
  equal(pool.spareBytes, spareBytes / 2)
  equal(lent.filter(({ buffer }) => buffer.byteLength === 0).length, 2)
  pool.take(300)
  equal(pool.spareBytes, spareBytes / 2)
})

test('a header and a key do not double the memory of a value', () => {
  const pool = new BulkPool()
  const capacities = [128 * 1024, 128 * 1024 + 58, 128 * 1024 + 512, 128 * 1024 + 513].map(
    lengthBytes => pool.take(lengthBytes).buffer.byteLength,
  )
  deepEqual(capacities, [128 * 1024, 128 * 1024 + 512, 128 * 1024 + 512, 256 * 1024])
})
