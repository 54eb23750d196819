import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MemberBackend } from './member-backend.ts'
import type { MetaStore } from './meta-store.ts'
import { adopt, hasSuperblock } from './store-identity.ts'

/** Looks for metadata backends that lost everything, and writes every record to them again; the superblock last, which
 *  makes them count for readers. Begun again from the start when it fails: every step may be repeated.
 *  @throws StorError */
export async function refillBlankMembers(
  members: readonly MemberBackend[],
  meta: MetaStore,
  fleet: Fleet,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (const member of members) {
    if (fleet.isMetaDown(member.name)) continue
    const holds = await hasSuperblock(member)
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
    await adopt(
      member,
      members.filter(other => other !== member && !other.blank),
    )
    log.event('metadata_backend.filled', { backend: member.name, recordCount: keys.length })
  }
}
