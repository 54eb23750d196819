import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { LostBytes } from './lost-bytes.ts'

/** No thread has such a number: whoever asks is a process of its own, by an unknown descriptor. */
const stranger = 2 ** 22 + 1
const told = { code: 'EIO' }

test('of processes that nobody can look into the first is told, and then no memory is kept', async () => {
  const lost = new LostBytes(systemClock)
  lost.add([5])
  assert.deepEqual(lost.nodeIds, [5])
  await assert.rejects(lost.tell(5, stranger), told)
  await lost.tell(5, stranger + 1)
  assert.deepEqual(lost.nodeIds, [])
})

test('by an unknown descriptor a process is told once for all of its open files', async () => {
  const lost = new LostBytes(systemClock)
  lost.add([5])
  lost.noteOpenFiles(
    new Map([
      [
        5,
        new Map([
          [stranger, new Set([3, 4])],
          [stranger + 1, new Set([3])],
        ]),
      ],
    ]),
  )
  await assert.rejects(lost.tell(5, stranger), told)
  await lost.tell(5, stranger)
  assert.deepEqual(lost.nodeIds, [5])
  await lost.tell(5, stranger + 2)
  await assert.rejects(lost.tell(5, stranger + 1), told)
  assert.deepEqual(lost.nodeIds, [])
})

test('a file that the kernel let go of tells its loss to who opens it next, if nobody knows yet', async () => {
  const lost = new LostBytes(systemClock)
  lost.add([5, 6, 7])
  lost.noteOpenFiles(new Map([5, 6, 7].map(nodeId => [nodeId, new Map([[stranger, new Set([3])]])])))
  await assert.rejects(lost.tell(6, stranger + 1), told)
  lost.forget(5, false)
  lost.forget(6, false)
  lost.forget(7, true)
  assert.deepEqual(lost.nodeIds, [5])
  await assert.rejects(lost.tell(5, stranger + 1), told)
  assert.deepEqual(lost.nodeIds, [])
})
