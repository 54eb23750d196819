import type { RecordBackend } from '../backend/backend.ts'
import type { Fleet } from '../backend/fleet.ts'
import type { StorConfig } from '../config.ts'
import type { RecordsTools } from '../identity/open-records.ts'
import { restoreIdentity } from '../identity/restore-identity.ts'
import type { MemberBackend } from '../metadata/member-backend.ts'
import { MetaStore } from '../metadata/meta-store.ts'
import type { RecoveryTarget } from './recover.ts'

/** A store on metadata backends that hold no superblock, from a copy of it. Records are written before the superblock is:
 *  until then the store does not open, so nothing takes objects for orphans whose records are still to come.
 *  @throws StorError as restoreIdentity */
export async function targetFromCopies(
  config: StorConfig,
  members: readonly MemberBackend[],
  fleet: Fleet,
  tools: RecordsTools,
  copies: readonly Buffer[],
): Promise<RecoveryTarget> {
  const { clock, random, log } = tools
  const { superblock, commit } = await restoreIdentity(members, copies, { ...tools, dataShards: config.metaDataShards })
  const backends = members.map((member, place) => {
    return { backend: unfilled(member), place, isDown: () => fleet.isMetaDown(member.name) }
  })
  const meta = new MetaStore(backends, superblock.keys, clock, random, log, {
    dataShards: config.metaDataShards,
    memberSet: superblock.memberSet,
    epoch: 1,
    answerWithinMs: config.backendTimeoutMs,
    settleWithinMs: config.backendTimeoutMs,
    allMustAnswer: true,
  })
  return { meta, keys: superblock.keys, commit }
}

/** A member whose «nothing» counts although it holds no superblock: there is nothing else yet. */
function unfilled(member: MemberBackend): RecordBackend {
  return {
    name: member.name,
    set: member.set.bind(member),
    get: member.peek.bind(member),
    remove: member.remove.bind(member),
    list: member.list.bind(member),
    stat: member.stat.bind(member),
    [Symbol.asyncDispose]: async () => undefined,
  }
}
