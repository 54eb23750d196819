import assert from 'node:assert/strict'
import { test } from 'node:test'
import { typedArguments } from './caller.ts'
import { nearest } from './nearest.ts'

test('the nearest word is found within a third of its letters', () => {
  const words = ['segment_bytes', 'cache_bytes', 'hook', 'socket']
  assert.equal(nearest('segment_byte', words), 'segment_bytes')
  assert.equal(nearest('socekt', words), 'socket')
  assert.equal(nearest('Hooks', words), 'hook')
  assert.equal(nearest('cachebytes', words), 'cache_bytes')
  assert.equal(nearest('frobnicate', words), null)
})

test('the -- that pnpm hands on is dropped, once', () => {
  assert.deepEqual(typedArguments(['node', 'main.ts', '--', '--state', 'x']), ['--state', 'x'])
  assert.deepEqual(typedArguments(['node', 'main.ts', 'store', '--', 'x']), ['store', '--', 'x'])
})
