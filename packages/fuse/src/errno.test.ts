import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { test } from 'node:test'
import { Errno, FuseError } from './errno.ts'

test('the numbers are those of this system', () => {
  for (const [name, number] of Object.entries(Errno)) {
    if (name in constants.errno) assert.equal(number, constants.errno[name as keyof typeof constants.errno], name)
  }
})

test('a FuseError is cheap: it has no stack, and others keep theirs', () => {
  const error = new FuseError('EIO', 'the store is gone', { cause: new Error('why') })
  assert.deepEqual([error.code, error.errno, error.message], ['EIO', 5, 'the store is gone'])
  assert.equal(error.stack, 'FuseError: the store is gone')
  assert.match(String((error.cause as Error).stack), /\n +at /)
  assert.match(String(new Error('after').stack), /\n +at /)
})
