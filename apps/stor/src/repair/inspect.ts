import type { Clock } from '@qsfs/concurrency/clock'
import type { KeyRing } from '@qsfs/crypto/keys'
import type { DeepCheck } from '@qsfs/protocol/stor-control'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { objectKey } from '../metadata/name-record.ts'
import { decodeRecord, type ShardPlace } from '../metadata/object-record.ts'
import { RepairBudget, type TakeOptions } from './budget.ts'
import { ObjectPieces } from './object-pieces.ts'
import { verifyShard } from './verify-shard.ts'

export interface InspectContext {
  readonly meta: MetaStore
  readonly fleet: Fleet
  readonly keys: KeyRing
  readonly clock: Clock
  readonly answerWithinMs: number
}

/** Reads every piece of every shard of an object and says what is there; changes nothing. Somebody waits for it, so it is not
 *  slowed down as repair is.
 *  @throws StorError 'not-found', 'wrong-key', 'damaged' when the object's key cannot be unwrapped */
export async function inspectObject(
  objectId: Buffer,
  context: InspectContext,
  options: TakeOptions,
): Promise<DeepCheck> {
  const stored = await context.meta.getAny(objectKey(objectId), options)
  const record = stored === null ? null : decodeRecord(stored.bytes)
  if (record === null || record.state === 'deleted') {
    throw new StorError('not-found', 'no metadata found for object: entity not found')
  }
  const { clock, answerWithinMs } = context
  const budget = new RepairBudget(clock, () => false, { ...unlimited, answerWithinMs })
  const pieces = new ObjectPieces(record, context.keys, budget)
  const shards = await Promise.all(
    record.shards.map(place => inspectShard(pieces, place, context.fleet, budget, options)),
  )
  const goodShardCount = shards.filter(({ state }) => state === 'good').length
  const { dataShards } = record
  return { ok: goodShardCount === shards.length, goodShardCount, dataShards, shards }
}

const unlimited = { bytesPerSecond: Number.POSITIVE_INFINITY, cpuShare: Number.POSITIVE_INFINITY }

async function inspectShard(
  pieces: ObjectPieces,
  place: ShardPlace,
  fleet: Fleet,
  budget: RepairBudget,
  options: TakeOptions,
): Promise<DeepCheck['shards'][number]> {
  const { index, backend: name } = place
  const none = { index, backend: name, goodPieceCount: 0, wrongPieceCount: 0, missingPieceCount: 0 }
  if (!place.confirmed) return { ...none, state: 'owed' }
  const backend = fleet.backend(name)
  if (backend === undefined) return { ...none, state: 'no-backend' }
  if (fleet.isDown(name)) return { ...none, state: 'unavailable' }
  const verdict = await verifyShard(pieces, place, backend, budget, options)
  return {
    ...{ index, backend: name, state: verdict.state },
    goodPieceCount: verdict.goodCount,
    wrongPieceCount: verdict.wrongCount,
    missingPieceCount: verdict.missingCount,
  }
}
