import { createHash } from 'node:crypto'
import { macBytes } from '@qsfs/crypto/aead'
import type { Backend, PieceId } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import type { PieceRun, ShardPlace } from '../metadata/object-record.ts'
import { runsOf } from '../pipeline/shard-writer.ts'
import type { RepairBudget, TakeOptions } from './budget.ts'
import type { ObjectPieces, PieceRead } from './object-pieces.ts'

/** What reading a whole shard showed. `bad`: at least one piece is wrong or missing. */
export interface ShardVerdict {
  readonly state: 'good' | 'bad' | 'unavailable'
  /** What is there of it, to be removed once the shard is written elsewhere. */
  readonly ownRuns: readonly PieceRun[]
  readonly goodCount: number
  readonly wrongCount: number
  readonly missingCount: number
}

/** Reads every piece of one shard. It goes on after a bad one, so that the rest is known by name when it is replaced. */
export async function verifyShard(
  pieces: ObjectPieces,
  place: ShardPlace,
  backend: Backend,
  budget: RepairBudget,
  options: TakeOptions,
): Promise<ShardVerdict> {
  const counts = { good: 0, wrong: 0, missing: 0 }
  const ownIds: PieceId[] = []
  const root = createHash('sha256')
  for (let frameNumber = 0; frameNumber < pieces.frameCount; frameNumber++) {
    await budget.take(pieces.pieceBytes(frameNumber), options)
    const { state, piece, ownId } = await readWithin(pieces, backend, place, frameNumber, budget, options)
    if (state === 'unavailable') return verdict('unavailable', ownIds, counts)
    counts[state]++
    if (ownId !== null) ownIds.push(ownId)
    if (piece !== null) root.update(piece.subarray(piece.length - macBytes))
  }
  const isGood = counts.good === pieces.frameCount && root.digest().equals(place.root)
  return verdict(isGood ? 'good' : 'bad', ownIds, counts)
}

/** Reads one piece; a backend that hangs is `unavailable`. */
export async function readWithin(
  pieces: ObjectPieces,
  backend: Backend,
  place: ShardPlace,
  frameNumber: number,
  budget: RepairBudget,
  { signal }: TakeOptions,
): Promise<PieceRead> {
  try {
    return await budget.within(pieces.read(backend, place, frameNumber, { signal }))
  } catch (error) {
    if (!(error instanceof StorError && error.reason === 'unavailable')) throw error
    return { state: 'unavailable', piece: null, ownId: null }
  }
}

function verdict(
  state: ShardVerdict['state'],
  ownIds: readonly PieceId[],
  counts: { readonly good: number; readonly wrong: number; readonly missing: number },
): ShardVerdict {
  const { good: goodCount, wrong: wrongCount, missing: missingCount } = counts
  return { state, ownRuns: ascendingRunsOf(ownIds), goodCount, wrongCount, missingCount }
}

/** Ids as runs, ascending: what is removed has no order of its own. */
export function ascendingRunsOf(ids: readonly PieceId[]): PieceRun[] {
  return runsOf(ids.toSorted((a, b) => a - b))
}
