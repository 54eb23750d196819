import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import type { StorConfig } from '../config.ts'
import { StorError } from '../errors.ts'
import type { MasterSecret } from '../master-secret.ts'
import type { MemberBackend } from '../metadata/member-backend.ts'
import { MetaStore } from '../metadata/meta-store.ts'
import { objectIdOfValue } from '../pipeline/piece.ts'
import type { Identity } from './identity.ts'
import { completeRotation } from './key-rotation.ts'
import { openIdentity } from './open-identity.ts'

export interface RecordsTools {
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly master: MasterSecret
}

/** Values of each data backend that are looked at before a new store is made on them. */
const LOOKED_AT = 8

/** Opens the store that the metadata backends hold: its keys and its records. What a crash interrupted is completed.
 *  @throws StorError as openIdentity and completeRotation */
export async function openRecords(
  config: StorConfig,
  members: readonly MemberBackend[],
  fleet: Fleet,
  tools: RecordsTools,
): Promise<{ readonly identity: Identity; readonly meta: MetaStore }> {
  const identity = await openIdentity(members, {
    ...tools,
    dataShards: config.metaDataShards,
    dataHoldsShards: () => holdsShards(fleet),
    records: (identity, remaining) => recordsOf(identity, config, fleet, tools, remaining),
  })
  try {
    await completeRotation(identity)
  } catch (error) {
    // Too few members to write to are enough to read from; the upkeep goes on with it.
    if (!(error instanceof StorError && error.reason === 'unavailable')) throw error
    tools.log.warn('master_secret.not_rotated', { error })
  }
  return { identity, meta: recordsOf(identity, config, fleet, tools) }
}

/** @param remaining members that stay while another is removed; all of them must answer */
export function recordsOf(
  identity: Identity,
  config: StorConfig,
  fleet: Fleet,
  { clock, random, log }: RecordsTools,
  remaining?: readonly MemberBackend[],
): MetaStore {
  const members = identity.places.flatMap((backend, place) => {
    if (backend === null || (remaining !== undefined && !remaining.includes(backend))) return []
    const isDown = () => remaining === undefined && fleet.isMetaDown(backend.name)
    const lacks = (what: 'damaged' | 'missed' | 'lost') => {
      backend.lags = true
      if (what === 'lost') log.warn('record_shard.missing', { backend: backend.name })
      if (what === 'damaged') fleet.metaFailed(backend.name, new StorError('damaged', 'it holds a damaged record'))
    }
    return [{ backend, place, isDown, isBlank: () => backend.blank && !isDown(), lacks }]
  })
  return new MetaStore(members, identity.superblock.keys, clock, random, log, {
    dataShards: config.metaDataShards,
    memberSet: identity.superblock.memberSet,
    epoch: 1,
    answerWithinMs: config.backendTimeoutMs,
    settleWithinMs: config.backendTimeoutMs + config.downAfterMs + 2 * config.healthCheckIntervalMs,
    allMustAnswer: remaining !== undefined,
  })
}

/** Whether any data backend holds shards. One that does not answer, or does not exist yet, says nothing. */
async function holdsShards({ data }: Fleet): Promise<boolean> {
  const found = await Promise.all(
    data.map(async ({ backend }) => {
      try {
        for await (const ids of backend.list()) {
          const values = await Promise.all(ids.slice(0, LOOKED_AT).map(id => backend.get(id)))
          if (ids.length > 0) return values.some(value => objectIdOfValue(value) !== null)
        }
      } catch (error) {
        if (!(error instanceof StorError)) throw error
      }
      return false
    }),
  )
  return found.some(holds => holds)
}
