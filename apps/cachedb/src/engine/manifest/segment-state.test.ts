import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SegmentState } from '@qsfs/protocol/cachedb-commands'
import type { ManifestRecord } from '../../segment/manifest-format.ts'
import { ManifestState } from './manifest-state.ts'
import { hasFile, type SegmentEvent, transitionOf, transitions } from './segment-state.ts'

const objectId = '00112233445566778899aabbccddeeff'
const states: readonly SegmentState[] = ['open', 'closed', 'stored', 'absent', 'gone']
const events = [...new Set(transitions.map(({ event }) => event))]

test('the table, spelled out: what may happen to a segment, and what is recorded first', () => {
  const rows = transitions.map(
    ({ from, event, to, recorded }) => `${from} ${event} → ${to}${recorded === null ? '' : ` (${recorded})`}`,
  )
  assert.deepEqual(rows, [
    'open closed → closed (closed)',
    'open voided → gone (gone)',
    'closed objectPrinted → stored (stored)',
    'closed storeFailed → closed',
    'closed fetched → closed',
    'closed died → gone (gone)',
    'stored died → gone (gone)',
    'stored evicted → absent (absent)',
    'stored damaged → absent (absent)',
    'absent restored → stored (stored)',
    'absent restoreFailed → absent',
    'absent died → gone (gone)',
  ])
})

test('every other event in every state is a bug, and said so', () => {
  for (const from of states) {
    for (const event of events) {
      if (!transitions.some(row => row.from === from && row.event === event))
        assert.throws(() => transitionOf(from, event), /cannot be/)
    }
  }
})

test('a needed file leaves only by way of stored; a state that is recorded is found again', () => {
  for (const { from, event, to } of transitions) {
    if (hasFile(from) && !hasFile(to))
      assert(from === 'stored' || ['died', 'voided'].includes(event), `${from} ${event}`)
  }
  const paths: readonly (readonly [SegmentState, readonly SegmentEvent[]])[] = [
    ['open', []],
    ['closed', ['closed']],
    ['stored', ['closed', 'objectPrinted']],
    ['absent', ['closed', 'objectPrinted', 'evicted']],
    ['stored', ['closed', 'objectPrinted', 'evicted', 'restored']],
    ['gone', ['closed', 'objectPrinted', 'died']],
  ]
  for (const [expected, path] of paths) {
    const state = new ManifestState(Buffer.alloc(8))
    state.apply({ type: 'opens', segmentId: 0, salt: 1, previousEndBytes: 0, nextId: 0 })
    let now: SegmentState = 'open'
    for (const event of path) {
      const { to, recorded } = transitionOf(now, event)
      if (recorded !== null) state.apply(recordOf(recorded))
      now = to
    }
    assert.equal(now, expected)
    assert.equal(state.segments.get(0)?.state, expected)
    // Written anew, it says the same.
    const again = new ManifestState(Buffer.alloc(8))
    for (const record of state.records()) again.apply(record)
    assert.deepEqual([...again.segments], [...state.segments])
  }
})

function recordOf(type: 'closed' | 'stored' | 'absent' | 'gone'): ManifestRecord {
  if (type === 'closed') return { type, segmentId: 0, dataBytes: 100, salt: 1 }
  return { type, segmentId: 0, objectId }
}
