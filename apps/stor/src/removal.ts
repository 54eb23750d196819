import { type Backend, type BackendOptions, getOrNull } from './backend/backend.ts'
import type { Fleet } from './backend/fleet.ts'
import { StorError } from './errors.ts'
import type { ObjectRecord, OwedRemoval } from './metadata/object-record.ts'
import { objectIdOfValue } from './pipeline/piece.ts'
import { idsOfRuns } from './pipeline/shard-writer.ts'

/** Every place where an object has, or may still have, pieces. */
export function placesOf({ shards, owed }: ObjectRecord): OwedRemoval[] {
  return [...shards, ...owed].map(({ backend, runs }) => ({ backend, runs }))
}

/** Removes an object's pieces wherever a backend answers. @returns what is still owed to those that do not */
export async function removePieces(
  objectId: Buffer,
  places: readonly OwedRemoval[],
  fleet: Pick<Fleet, 'backend' | 'isDown'>,
  signal: AbortSignal | undefined,
): Promise<OwedRemoval[]> {
  const outcomes = await Promise.all(places.map(place => isRemoved(objectId, place, fleet, signal)))
  return places.filter((_, i) => !outcomes[i])
}

async function isRemoved(
  objectId: Buffer,
  { backend: name, runs }: OwedRemoval,
  fleet: Pick<Fleet, 'backend' | 'isDown'>,
  signal: AbortSignal | undefined,
) {
  if (runs.length === 0) return true
  const backend = fleet.backend(name)
  // A backend that left the config keeps its debt: it may be given back.
  if (backend === undefined || fleet.isDown(name)) return false
  const options = { signal }
  const ids = [...idsOfRuns(runs)]
  try {
    if (await holdsObject(backend, ids, objectId, options)) await backend.remove(ids, options)
    return true
  } catch (error) {
    if (error instanceof StorError) return false
    throw error
  }
}

/** Whether the pieces under these ids are this object's. A backend that came back empty gives the same ids to others:
 *  then ours are gone, and what has the ids now must stay. One piece tells, the first that is left and can be read. */
async function holdsObject(backend: Backend, ids: readonly number[], objectId: Buffer, options: BackendOptions) {
  for (const id of ids) {
    const value = await getOrNull(backend, id, options)
    const owner = value === null ? null : objectIdOfValue(value)
    if (owner !== null) return owner.equals(objectId)
  }
  return false
}
