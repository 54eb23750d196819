import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { Room } from './room.ts'

const segmentBytesMax = 100

function newRoom(limitBytes: number, freeBytes = Number.POSITIVE_INFINITY) {
  const clock = new ManualClock()
  return { clock, room: new Room(clock, { limitBytes, segmentBytesMax, freeBytes: () => freeBytes }) }
}

test('a restore that finds no room is given up after a while, and those behind it go on', async () => {
  const { room, clock } = newRoom(1000)
  room.take(800, 'data')
  const tooMuch = assert.rejects(room.takeForRestore(300), /^CacheFull: FULL space/)
  const fits = room.takeForRestore(150)
  await clock.advance(30_000)
  await tooMuch
  await fits
  assert.equal(room.usedBytes, 950)
})

test('a disk that has room again is asked before anything is refused', () => {
  let freeBytes = 350
  const limits = { limitBytes: 0, segmentBytesMax, freeBytes: () => freeBytes }
  const room = new Room(new ManualClock(), limits)
  room.take(100, 'data')
  freeBytes = 1_000
  room.take(100, 'data')
})

test('data leaves two segments free, pinned namespaces and deletes one, restores none', async () => {
  const { room } = newRoom(1000)
  room.take(800, 'data')
  assert.throws(() => room.take(1, 'data'), /^CacheFull: FULL space/)
  room.take(100, 'reserved')
  assert.throws(() => room.take(1, 'reserved'), /FULL space/)
  await room.takeForRestore(100)
  assert.equal(room.usedBytes, 1000)
  const order: number[] = []
  const waiting = [60, 10].map(bytes => room.takeForRestore(bytes).then(() => order.push(bytes)))
  room.give(50)
  await new Promise(resolve => setImmediate(resolve))
  assert.deepEqual(order, [], 'the smaller one does not overtake')
  room.give(20)
  await Promise.all(waiting)
  assert.deepEqual(order, [60, 10])
})

test('FULL wait while stores made progress in the last 30 seconds, else FULL space', async () => {
  const { room, clock } = newRoom(1000)
  room.take(800, 'data')
  room.noteProgress()
  assert.throws(() => room.take(1, 'data'), /FULL wait/)
  await clock.advance(29_000)
  assert.throws(() => room.take(1, 'data'), /FULL wait/)
  await clock.advance(2_000)
  assert.throws(() => room.take(1, 'data'), /FULL space/)
})

test('without a limit the disk is the limit, with the same reserves', () => {
  const limits = { limitBytes: 0, segmentBytesMax, freeBytes: () => 500 - room.usedBytes }
  const room: Room = new Room(new ManualClock(), limits)
  room.take(300, 'data')
  assert.throws(() => room.take(1, 'data'), /FULL space/)
})

test('a limit below the pinned bytes and six segments is refused with the number to set', () => {
  const { room } = newRoom(1000)
  room.assertLimit(400)
  assert.throws(() => room.assertLimit(401), /set at least "1MiB", or smaller segments/)
  newRoom(0).room.assertLimit(10_000)
})
