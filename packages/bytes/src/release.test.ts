import assert from 'node:assert'
import test from 'node:test'
import { releaseMemory } from './release.ts'

test('a buffer of its own is emptied, one that shares its memory is left alone', () => {
  const own = Buffer.from(new ArrayBuffer(100_000))
  releaseMemory(own)
  assert.equal(own.length, 0)
  const pooled = Buffer.from('part of a slab')
  releaseMemory(pooled)
  assert.equal(pooled.toString(), 'part of a slab')
  const shared = Buffer.from(new SharedArrayBuffer(10))
  releaseMemory(shared)
  assert.equal(shared.length, 10)
})
