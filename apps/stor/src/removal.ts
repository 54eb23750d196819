import type { Fleet } from './backend/fleet.ts'
import { StorError } from './errors.ts'
import type { ObjectRecord, OwedRemoval, PieceRun } from './metadata/object-record.ts'

/** Every place where an object has, or may still have, pieces. */
export function placesOf({ shards, owed }: ObjectRecord): OwedRemoval[] {
  return [...shards, ...owed].map(({ backend, runs }) => ({ backend, runs }))
}

/** Removes pieces wherever a backend answers. @returns what is still owed to those that do not */
export async function removePieces(
  places: readonly OwedRemoval[],
  fleet: Fleet,
  signal: AbortSignal | undefined,
): Promise<OwedRemoval[]> {
  const outcomes = await Promise.all(places.map(place => isRemoved(place, fleet, signal)))
  return places.filter((_, i) => !outcomes[i])
}

async function isRemoved({ backend: name, runs }: OwedRemoval, fleet: Fleet, signal: AbortSignal | undefined) {
  const pieceCount = runs.reduce((sum, { count }) => sum + count, 0)
  if (pieceCount === 0) return true
  const backend = fleet.backend(name)
  // A backend that left the config keeps its debt: it may be given back.
  if (backend === undefined || fleet.isDown(name)) return false
  try {
    await backend.remove(idsOf(runs), signal === undefined ? {} : { signal })
    return true
  } catch (error) {
    if (error instanceof StorError) return false
    throw error
  }
}

function idsOf(runs: readonly PieceRun[]): number[] {
  return runs.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i))
}
