import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SegmentInfo } from '@qsfs/protocol/cachedb-commands'
import { dispersalOf } from './cachedb-view.ts'

const segment = (id: number, state: SegmentInfo['state'], dataBytes: number, liveBytes = dataBytes): SegmentInfo => ({
  id,
  state,
  dataBytes,
  liveBytes,
  objectId: null,
  local: state !== 'absent',
  note: '',
})

test('what is on this machine only: the open segment with data, closed ones not stored', () => {
  const data = [
    segment(0, 'absent', 10_000),
    segment(1, 'stored', 5000),
    segment(2, 'closed', 1000),
    segment(3, 'open', 100),
  ]
  const meta = [segment(0, 'stored', 7000), segment(1, 'open', 28, 0)]
  assert.deepEqual(
    dispersalOf([
      { name: 'data', segments: data },
      { name: 'meta', segments: meta },
    ]),
    { allClosedStored: false, openBytes: 100, closedBytes: 1000, localDataBytes: 13_128 },
  )
  assert.equal(dispersalOf([{ name: 'meta', segments: meta }]).allClosedStored, true)
})

test('an open segment behind a newer one is on its way to be closed', () => {
  const segments = [segment(4, 'open', 500), segment(5, 'open', 28, 0)]
  const { allClosedStored, openBytes, closedBytes } = dispersalOf([{ name: 'data', segments }])
  assert.deepEqual([allClosedStored, openBytes, closedBytes], [false, 0, 500])
})
