import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import type { Identity } from './identity.ts'

/** Looks for members that hold nothing, because they are new or lost everything, and writes every record to them; the
 *  superblock last, which makes them count for readers. Begun again from the start when it fails: every step may be
 *  repeated. Members that missed a change of the superblock are given it.
 *  @throws StorError */
export async function refillBlankMembers(
  identity: Identity,
  meta: MetaStore,
  fleet: Pick<Fleet, 'isMetaDown'>,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (const member of identity.places) {
    if (member === null || fleet.isMetaDown(member.name)) continue
    const holds = await identity.catchUp(member)
    if (holds === 'silent') continue
    member.blank = !holds
    if (holds) continue
    const keys = await meta.list({ signal })
    log.event('metadata_backend.filling', { backend: member.name, recordCount: keys.length })
    for (const key of keys) {
      const committed = await meta.widen(key, { signal })
      if (committed?.owed.includes(member.name)) {
        throw new StorError('unavailable', `${member.name} went away while it was being filled`)
      }
    }
    await identity.adopt(member)
    log.event('metadata_backend.filled', { backend: member.name, recordCount: keys.length })
  }
}
