import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import type { EntryLocation, Keydir } from './keydir.ts'
import { decodeId, encodeId, SequentialKeydir } from './keydir-sequential.ts'
import { UserKeydir } from './keydir-user.ts'

function location(n: number, keepsCrc: boolean): EntryLocation {
  return {
    segmentId: n % 4_000_000_000,
    offsetBytes: (n * 7919) % 2 ** 31,
    valueBytes: n % (8 * 1024 * 1024 + 1),
    timestampSeconds: (n * 31) % 2 ** 32,
    valueCrc: keepsCrc ? (n * 2_654_435_761) % 2 ** 32 : -1,
    updated: n % 3 === 0,
  }
}

test('a user keydir answers as a Map does', t => {
  const prng = seededPrng(t)
  const keydir = new UserKeydir(prng.below(2 ** 31))
  compare(keydir, prng, true, () => {
    const n = prng.below(20_000)
    return Buffer.from(n % 5 === 0 ? `${'long'.repeat(1 + (n % 60))}${n}` : `k${n}`)
  })
})

test('a sequential keydir answers as a Map does, dense and sparse', t => {
  const prng = seededPrng(t)
  const keydir = new SequentialKeydir(prng.below(2 ** 31))
  let next = 0
  compare(keydir, prng, false, () => encodeId(prng.chance(0.4) ? next++ : prng.below(next + 1)))
  assert(next > 10_000)
})

test('a user keydir that expected more keys than came is as small as one that expected none', () => {
  const [expecting, growing] = [new UserKeydir(7), new UserKeydir(7)]
  const keys = Array.from({ length: 20_000 }, (_, n) => Buffer.from(`key:${n}`))
  expecting.expect(200_000)
  for (const keydir of [expecting, growing]) for (const [n, key] of keys.entries()) keydir.set(key, location(n, true))
  assert(expecting.memoryBytes > growing.memoryBytes)
  assert([...expecting.fit()].length > 0)
  assert.equal(expecting.memoryBytes, growing.memoryBytes)
  for (const [n, key] of keys.entries()) assert.deepEqual(expecting.get(key), location(n, true))
  for (const key of keys) assert.notEqual(expecting.delete(key), null)
  assert.equal(expecting.count, 0)
})

function compare(keydir: Keydir, prng: ReturnType<typeof seededPrng>, keepsCrc: boolean, nextKey: () => Buffer): void {
  const model = new Map<string, EntryLocation>()
  for (let step = 0; step < 60_000; step++) {
    const key = nextKey()
    const name = key.toString('hex')
    const expected = model.get(name) ?? null
    // Long stretches that mostly insert, then mostly delete, so that pages thin out and chunks are emptied.
    const deletes = Math.floor(step / 10_000) % 2 === 0 ? 0.1 : 0.7
    if (prng.chance(deletes)) {
      assert.deepEqual(keydir.delete(key), expected)
      model.delete(name)
    } else if (prng.chance(0.3)) {
      const value = { ...location(step, keepsCrc), updated: false }
      const inHint = { ...value, bytes: Buffer.concat([prng.bytes(3), key, prng.bytes(2)]), keyAt: 3 }
      assert.equal(keydir.add({ ...inHint, keyBytes: key.length }, value.segmentId), expected === null)
      if (expected === null) model.set(name, value)
    } else if (prng.chance(0.7)) {
      const value = location(step, keepsCrc)
      assert.deepEqual(keydir.set(key, value), expected)
      model.set(name, value)
    } else {
      assert.deepEqual(keydir.get(key), expected)
    }
    assert.equal(keydir.count, model.size)
  }
  for (const [name, value] of model) assert.deepEqual(keydir.get(Buffer.from(name, 'hex')), value)
}

test('ids are 8 bytes, little-endian, below 2^53', () => {
  for (const id of [0, 1, 255, 2 ** 32, 2 ** 53 - 1]) assert.equal(decodeId(encodeId(id)), id)
  assert.equal(encodeId(2 ** 32 + 5).toString('hex'), '0500000001000000')
  assert.equal(decodeId(Buffer.alloc(8, 0xff)), null)
  assert.equal(decodeId(Buffer.alloc(7)), null)
})

test('the promised memory: 48 bytes and the key, 16 bytes a dense id, a table for sparse ones', () => {
  const user = new UserKeydir(1)
  const count = 400_000
  for (let i = 0; i < count; i++) user.set(Buffer.from(`user:key:${i}`.padEnd(20)), location(i, true))
  assert(user.memoryBytes / count <= 48 + 20, `${user.memoryBytes / count} bytes a key`)

  const sequential = new SequentialKeydir(1)
  for (let id = 0; id < count; id++) sequential.set(encodeId(id), location(id, false))
  assert(sequential.memoryBytes / count <= 16.1)
  for (let id = 0; id < count; id++) if (id % 100 > 0) sequential.delete(encodeId(id))
  assert.equal(sequential.count, count / 100)
  // The last page and one chunk of columns are there however few ids live.
  assert(sequential.memoryBytes < 700 * 1024, `${sequential.memoryBytes} bytes for ${count / 100} ids`)
})

test('keys that come and go at once leave no memory behind', () => {
  const keydir = new UserKeydir(1)
  keydir.set(Buffer.from('stays'), location(1, true))
  for (let i = 0; i < 100_000; i++) {
    const key = Buffer.from(`passing:${i}`.padEnd(40))
    keydir.set(key, location(i, true))
    keydir.delete(key)
  }
  assert(keydir.memoryBytes < 1024 * 1024, `${keydir.memoryBytes} bytes for one key`)
  assert.deepEqual(keydir.get(Buffer.from('stays')), location(1, true))
})
