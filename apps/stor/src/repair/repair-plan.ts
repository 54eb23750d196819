import type { ObjectRecord } from '../metadata/object-record.ts'
import type { Candidate, Redundancy } from '../placement.ts'
import type { BackendView } from './diagnosis.ts'
import { chooseReplacement } from './replacement.ts'

export interface RepairPlan {
  readonly targets: readonly { readonly index: number; readonly backend: string }[]
  /** Shards on a backend that was given up which have no better place: they are waited for after all. */
  readonly staying: readonly number[]
  /** Why the first of the others has no place now, '' when all have. */
  readonly pending: string
}

/** Where each shard goes that is lost, owed or misplaced: to its own backend, or to another when that one is gone, to be
 *  emptied, full, or given up. A backend that is down is waited for until it is given up; then its shards move, but only to
 *  places with which the object survives what is promised: it may come back.
 *  @param lost indexes of shards */
export function planRepair(
  { shards }: ObjectRecord,
  lost: readonly number[],
  candidates: readonly Candidate[],
  view: BackendView,
  redundancy: Redundancy,
): RepairPlan {
  const isLost = new Set(lost)
  const taken = new Set(shards.filter(({ index }) => !isLost.has(index)).map(({ backend }) => backend))
  const targets: { index: number; backend: string }[] = []
  const staying: number[] = []
  const reasons: string[] = []
  const waiting = new Set(lost)
  for (const index of lost) {
    const { backend: own, confirmed } = shards[index]!
    waiting.delete(index)
    const candidate = candidates.find(({ name }) => name === own)
    const stays = candidate !== undefined && !view.isDraining(own) && !taken.has(own)
    const isDown = stays && view.isDown(own)
    const isGivenUp = isDown && view.isGivenUp(own)
    const choose = () => {
      // Not the place of another shard of this object that is to be rewritten where it was.
      const occupied = new Set([...taken, ...[...waiting].map(other => shards[other]!.backend)])
      const open = candidates.map(one => (one.name === own ? { ...one, usable: false } : one))
      return chooseReplacement(open, occupied, redundancy, { keepsPromise: isGivenUp })?.name ?? null
    }
    // Of a backend that is away the shard waits: it may come back with all it has.
    const chosen = isDown && !isGivenUp ? null : stays && candidate.usable ? own : choose()
    if (chosen !== null) {
      taken.add(chosen)
      targets.push({ index, backend: chosen })
      continue
    }
    if (stays) taken.add(own)
    if (isGivenUp && confirmed) staying.push(index)
    else if (isDown) reasons.push(`${own} is down`)
    else reasons.push(stays ? `${own} has no room` : `no backend has room for a shard of ${own}`)
  }
  return { targets, staying, pending: reasons[0] ?? '' }
}
