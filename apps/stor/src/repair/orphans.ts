import type { Clock } from '@qsfs/concurrency/clock'
import type { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { KeyError } from '@qsfs/crypto/errors'
import type { KeyRing } from '@qsfs/crypto/keys'
import type { Log } from '@qsfs/telemetry/log'
import { type Backend, getOrNull, type PieceId } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { objectKey } from '../metadata/name-record.ts'
import { decodeRecord } from '../metadata/object-record.ts'
import { looksLikeSuperblock } from '../metadata/superblock.ts'
import { decodeShardHeader, objectIdOfValue, shardHeaderHolds } from '../pipeline/piece.ts'
import type { RepairBudget } from './budget.ts'
import { NamedPieces } from './named-pieces.ts'

export interface SweepContext {
  readonly meta: MetaStore
  readonly keys: KeyRing
  readonly clock: Clock
  readonly log: Log
  readonly budget: RepairBudget
  /** Held while an object is repaired. */
  readonly objects: KeyedMutex<string>
  /** Pieces younger than this belong to an upload that may still name them. */
  readonly graceMs: number
}

/** What a sweep found that no record names. */
export interface SweepResult {
  readonly removedCount: number
  /** Too young. */
  readonly youngCount: number
  /** Of no object of ours, with no shard header of ours beside them: another store's, or nobody's. They stay. */
  readonly unknownCount: number
}

/** Pieces of one object on one backend that no record named when the survey went by. */
interface Stray {
  readonly ids: PieceId[]
  /** When the youngest of their shards was begun; null as long as no header of ours was seen. */
  startedMs: number | null
  headerIds: PieceId[]
}

/** Strays that are looked at in one sweep of one backend; the rest is left to the next. */
const STRAYS_MAX = 20_000
/** Above what one piece is, for the budget; the backend does not say how long it is. */
const STRAY_BYTES = 256 * 1024

/** Removes what uploads and repairs left behind that were broken off: pieces that no record names, of shards whose header,
 *  under this store's keys, says that they were begun longer ago than any upload may take; and single ones, of a put that
 *  was repeated because its answer was lost, of an object that is as old. The record is asked for once more, by the rule,
 *  before anything is removed.
 *  @param named by a survey that began after nothing else was writing records but this process
 *  @throws StorError only for a backend's listing, and the metadata */
export async function sweepOrphans(
  backend: Backend,
  named: NamedPieces,
  context: SweepContext,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<SweepResult> {
  const options = { signal }
  const strays = new Map<string, Stray>()
  let [seen, unknownCount] = [0, 0]
  for await (const ids of backend.list(options)) {
    for (const id of ids) {
      signal?.throwIfAborted()
      if (named.has(backend.name, id) || seen >= STRAYS_MAX) continue
      seen++
      await context.budget.take(STRAY_BYTES, options)
      const value = await getOrNull(backend, id, options)
      const owner = value === null ? null : objectIdOfValue(value)
      if (owner === null) unknownCount += value !== null && looksLikeSuperblock(value) ? 0 : 1
      else note(strays, owner, id, value!, context.keys)
    }
  }
  let [removedCount, youngCount] = [0, 0]
  for (const [objectId, stray] of strays) {
    const fate = await context.objects.run(objectId, () => settle(backend, objectId, stray, context, options))
    if (fate === 'removed') removedCount += stray.ids.length
    else if (fate === 'young') youngCount += stray.ids.length
    else if (fate === 'unknown') unknownCount += stray.ids.length
  }
  if (removedCount > 0) context.log.event('orphans.removed', { backend: backend.name, pieceCount: removedCount })
  return { removedCount, youngCount, unknownCount }
}

function note(strays: Map<string, Stray>, owner: Buffer, id: PieceId, value: Buffer, keys: KeyRing): void {
  const objectId = owner.toString('hex')
  const stray = strays.get(objectId) ?? { ids: [], startedMs: null, headerIds: [] }
  strays.set(objectId, stray)
  stray.ids.push(id)
  const startedMs = startOf(value, keys)
  if (startedMs === null) return
  stray.headerIds.push(id)
  stray.startedMs = Math.max(stray.startedMs ?? 0, startedMs)
}

/** When the shard was begun that this value is the first of; null when it is no first one, or not under our keys. */
function startOf(value: Buffer, keys: KeyRing): number | null {
  try {
    const { shard, headerBytes } = decodeShardHeader(value)
    const { headers } = keys.openObjectKeys(shard.wrappedKey, shard.objectId)
    return shardHeaderHolds(value, headerBytes, headers) ? shard.startedMs : null
  } catch (error) {
    if (error instanceof KeyError || (error instanceof StorError && error.reason === 'damaged')) return null
    throw error
  }
}

/** Alone with the object. `kept`: they are named after all, or it cannot be said now; the next sweep looks again. */
async function settle(
  backend: Backend,
  objectId: string,
  { ids, headerIds, startedMs }: Stray,
  { meta, clock, graceMs, budget, log }: SweepContext,
  options: { readonly signal?: AbortSignal },
): Promise<'removed' | 'young' | 'unknown' | 'kept'> {
  const isYoung = (beginMs: number) => clock.nowMs() - beginMs < graceMs
  if (startedMs !== null && isYoung(startedMs)) return 'young'
  try {
    const stored = await meta.get(objectKey(Buffer.from(objectId, 'hex')), options)
    const record = stored === null ? null : decodeRecord(stored.bytes)
    if (startedMs === null) {
      if (record === null) return 'unknown'
      if (isYoung(record.createdMs)) return 'young'
    }
    const now = new NamedPieces()
    if (record !== null) now.add(record)
    const orphans = ids.filter(id => !now.has(backend.name, id))
    if (orphans.length < ids.length) return 'kept'
    const isHeader = new Set(headerIds)
    // Headers last: what is left after a crash can still be told by them.
    for (const batch of [orphans.filter(id => !isHeader.has(id)), orphans.filter(id => isHeader.has(id))]) {
      if (batch.length > 0) await budget.within(backend.remove(batch, options), 1 + batch.length / 16)
    }
    return 'removed'
  } catch (error) {
    options.signal?.throwIfAborted()
    if (!(error instanceof StorError)) throw error
    // Not settled now, or the backend is away: they stay for the next sweep.
    log.debug('orphans.not_removed', { backend: backend.name, objectId, error })
    return 'kept'
  }
}
