import assert from 'node:assert'
import type { SegmentState } from '@qsfs/protocol/cachedb-commands'

/** What happens to a segment, and what must be on disk before anything is done about it. States are what must be true after a
 *  crash; storing, restoring, compacting, evicting and deleting are activities: at most one at a time, in memory, begun again after a crash. */
export const transitions = [
  { from: 'open', event: 'closed', to: 'closed', recorded: 'closed' },
  { from: 'open', event: 'voided', to: 'gone', recorded: 'gone' },
  { from: 'closed', event: 'objectPrinted', to: 'stored', recorded: 'stored' },
  { from: 'closed', event: 'storeFailed', to: 'closed', recorded: null },
  { from: 'closed', event: 'fetched', to: 'closed', recorded: null },
  { from: 'closed', event: 'died', to: 'gone', recorded: 'gone' },
  { from: 'stored', event: 'died', to: 'gone', recorded: 'gone' },
  { from: 'stored', event: 'evicted', to: 'absent', recorded: 'absent' },
  { from: 'stored', event: 'damaged', to: 'absent', recorded: 'absent' },
  { from: 'absent', event: 'restored', to: 'stored', recorded: 'stored' },
  { from: 'absent', event: 'restoreFailed', to: 'absent', recorded: null },
  { from: 'absent', event: 'died', to: 'gone', recorded: 'gone' },
] as const satisfies readonly Transition[]

export type SegmentEvent =
  | 'closed'
  | 'voided'
  | 'objectPrinted'
  | 'storeFailed'
  | 'fetched'
  | 'died'
  | 'evicted'
  | 'damaged'
  | 'restored'
  | 'restoreFailed'

export interface Transition {
  readonly from: SegmentState
  readonly event: SegmentEvent
  readonly to: SegmentState
  /** The manifest record that is synced before `to` is acted upon; null when nothing changes on disk. */
  readonly recorded: 'closed' | 'stored' | 'absent' | 'gone' | null
}

/** What is being done with a segment now. */
export type SegmentActivity = 'closing' | 'storing' | 'restoring' | 'compacting' | 'evicting' | 'burying'

/** The row for this event. An event that the state does not know is a bug. */
export function transitionOf(from: SegmentState, event: SegmentEvent): Transition {
  const row = transitions.find(row => row.from === from && row.event === event)
  assert(row !== undefined, `a segment that is ${from} cannot be ${event}`)
  return row
}

/** Only a file of these states counts: any other is removed at start. */
export function hasFile(state: SegmentState): boolean {
  return state === 'open' || state === 'closed' || state === 'stored'
}
