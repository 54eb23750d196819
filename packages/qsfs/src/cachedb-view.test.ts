import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SegmentInfo } from '@qsfs/protocol/cachedb-commands'
import { dispersalOf } from './cachedb-view.ts'

const segment = (state: SegmentInfo['state'], dataBytes: number, local = true): SegmentInfo => ({
  id: 0,
  state,
  dataBytes,
  liveBytes: dataBytes > 26 ? dataBytes - 26 : 0,
  objectId: null,
  local,
  note: '',
})

test('what is on this machine only: open segments with data, closed ones not stored', () => {
  const segments = [
    segment('open', 26),
    segment('open', 100),
    segment('closed', 1000),
    segment('stored', 10_000),
    segment('absent', 10_000, false),
  ]
  assert.deepEqual(dispersalOf([{ name: 'data', segments }]), {
    allClosedStored: false,
    openBytes: 100,
    closedBytes: 1000,
    localDataBytes: 11_126,
  })
  assert.equal(
    dispersalOf([{ name: 'data', segments: [segment('open', 26), segment('stored', 5)] }]).allClosedStored,
    true,
  )
})
