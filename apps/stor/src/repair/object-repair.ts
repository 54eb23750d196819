import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { KeyRing } from '@qsfs/crypto/keys'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { objectKey } from '../metadata/name-record.ts'
import {
  decodeRecord,
  encodeRecord,
  type ObjectRecord,
  type PieceRun,
  type ShardPlace,
} from '../metadata/object-record.ts'
import { idsOfRuns } from '../pipeline/shard-writer.ts'
import type { Redundancy } from '../placement.ts'
import { removePieces } from '../removal.ts'
import type { RepairBudget, TakeOptions } from './budget.ts'
import { type BackendView, diagnose } from './diagnosis.ts'
import { ObjectPieces } from './object-pieces.ts'
import { type Rebuilt, rebuildShards } from './rebuild-shards.ts'
import { planRepair } from './repair-plan.ts'
import { planMoves } from './replacement.ts'
import { ascendingRunsOf, verifyShard } from './verify-shard.ts'

export interface ObjectRepairContext {
  readonly meta: MetaStore
  readonly fleet: Pick<Fleet, 'backend' | 'isDown' | 'candidates'>
  readonly keys: KeyRing
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly budget: RepairBudget
  readonly redundancy: Redundancy
  readonly view: BackendView
}

/** What one attempt on one object came to. */
export interface RepairOutcome {
  /** False: there is no such object any more. */
  readonly found: boolean
  readonly rebuiltCount: number
  readonly verifiedCount: number
  readonly badCount: number
  /** Why it is not whole yet, '' when it is. */
  readonly pending: string
  /** Shards that could not be read to know, or that failed as sources: to be read next time. */
  readonly suspects: readonly number[]
  /** Shards confirmed on known backends, of n, after it. */
  readonly confirmedCount: number
  readonly totalShards: number
  /** How many of them may be lost. */
  readonly margin: number
}

/** Shards to be written, and what then is to be removed of them. */
type Lost = ReadonlyMap<number, readonly PieceRun[]>

/** Brings one object to full width: reads the shards that are in doubt, rebuilds those that are bad, owed, or on a backend
 *  that is gone or given up, and of a whole one those whose places do not keep the promise, where others do; commits a new generation of the record, removes what the replaced shards left. In this order: until the
 *  record is committed the old places stay, after it the new ones count, so a crash at any step leaves the object
 *  readable and at most pieces that nobody names. One at a time per object; the caller sees to it. */
export class ObjectRepair {
  readonly #context: ObjectRepairContext

  constructor(context: ObjectRepairContext) {
    this.#context = context
  }

  /** @param suspects indexes of shards to read whole; 'all': every one
   *  @throws StorError of the metadata, or of the rebuild */
  async run(
    objectId: Buffer,
    suspects: ReadonlySet<number> | 'all',
    options: TakeOptions = {},
  ): Promise<RepairOutcome> {
    const { fleet, view } = this.#context
    const faulty = new Set<number>()
    let [rebuiltCount, verifiedCount, badCount] = [0, 0, 0]
    let doubted = suspects
    // At most n - k shards per generation: whoever still reads by the older one finds k where they were.
    for (;;) {
      const record = await this.#read(objectId, options.signal)
      if (record === null) return gone
      const pieces = new ObjectPieces(record, this.#context.keys, this.#context.budget)
      const checked = await this.#check(pieces, doubted, options)
      verifiedCount += checked.verifiedCount
      badCount += checked.badCount
      // The server's own bytes come on top.
      const candidates = fleet.candidates(Math.ceil(pieces.shardTotalBytes * 1.02))
      const redundancy = redundancyOf(record, this.#context.redundancy)
      const planned = planRepair(record, [...checked.lost.keys()], candidates, view, redundancy)
      for (const index of planned.staying) checked.lost.delete(index)
      const isWhole = checked.lost.size === 0
      const moves = isWhole ? planMoves(record.shards, candidates, redundancy, name => !view.isDown(name)) : []
      for (const { index } of moves) checked.lost.set(index, record.shards[index]!.runs)
      const targets = [...planned.targets, ...moves]
      const batch = targets.slice(0, Math.max(1, record.totalShards - record.dataShards))
      // A shard on its way from where it is good is as good a source as any.
      const moving = new Set([...checked.draining, ...moves.map(({ index }) => index)])
      const bad = new Set([...checked.lost.keys()].filter(index => !moving.has(index)))
      const rebuilt = batch.length === 0 ? null : await this.#rebuild(pieces, batch, bad, faulty, options)
      const count = rebuilt === null ? 0 : await this.#commit(record, rebuilt, checked.lost)
      rebuiltCount += count
      const written = new Set(rebuilt?.places.map(({ index }) => index))
      const left = [...checked.lost.keys()].filter(index => !written.has(index))
      const unread = [...checked.unread, ...faulty].filter(index => !written.has(index))
      if (count > 0 && left.length > 0 && planned.pending === '') {
        doubted = new Set([...left, ...unread])
        continue
      }
      const unsettled = await this.#settle(objectId, options.signal)
      const failure = rebuilt?.failures[0]?.message ?? ''
      const silent = checked.unread.map(index => `${record.shards[index]!.backend} does not answer`)
      const changed = left.length > 0 ? 'the record changed meanwhile' : ''
      const pending = planned.pending || failure || silent[0] || changed || unsettled
      const confirmedCount = this.#countKept(record, bad.union(written)) + count
      const margin = confirmedCount - record.dataShards
      const width = { confirmedCount, totalShards: record.totalShards, margin }
      const counts = { rebuiltCount, verifiedCount, badCount, ...width }
      // A shard known to be bad is read again next time: it may have been mended, and what is there of it is needed.
      const again = left.filter(index => record.shards[index]!.confirmed)
      return { found: true, ...counts, pending, suspects: [...new Set([...unread, ...again])] }
    }
  }

  async #read(objectId: Buffer, signal: AbortSignal | undefined): Promise<ObjectRecord | null> {
    const stored = await this.#context.meta.get(objectKey(objectId), signal === undefined ? {} : { signal })
    const record = stored === null ? null : decodeRecord(stored.bytes)
    return record?.state === 'live' ? record : null
  }

  /** Which shards are lost. Those in doubt are read whole: nothing is rewritten on a mere word. */
  async #check(pieces: ObjectPieces, suspects: ReadonlySet<number> | 'all', options: TakeOptions) {
    const { fleet, budget, view, log } = this.#context
    const { record } = pieces
    const { unplaced, displaced } = diagnose(record, view)
    const lost = new Map<number, readonly PieceRun[]>(
      [...unplaced, ...displaced].map(index => [index, record.shards[index]!.runs]),
    )
    const draining = new Set(unplaced.filter(index => this.#isKept(record.shards[index]!)))
    const unread: number[] = []
    let [verifiedCount, badCount] = [0, 0]
    for (const place of record.shards) {
      const backend = fleet.backend(place.backend)
      const isDoubted = suspects === 'all' || suspects.has(place.index)
      if (!isDoubted || !place.confirmed || backend === undefined) continue
      const isDown = fleet.isDown(place.backend)
      const verdict = isDown ? null : await verifyShard(pieces, place, backend, budget, options)
      if (verdict === null || verdict.state === 'unavailable') {
        unread.push(place.index)
        continue
      }
      verifiedCount++
      if (verdict.state === 'good') continue
      badCount++
      const { state: _, ownRuns, ...counts } = verdict
      const objectId = record.objectId.toString('hex')
      log.warn('shard.bad', { objectId, shardIndex: place.index, backend: place.backend, ...counts })
      lost.set(place.index, ownRuns)
      draining.delete(place.index)
    }
    return { lost, draining, unread, verifiedCount, badCount }
  }

  async #rebuild(
    pieces: ObjectPieces,
    targets: readonly { readonly index: number; readonly backend: string }[],
    bad: ReadonlySet<number>,
    faulty: Set<number>,
    options: TakeOptions,
  ): Promise<Rebuilt> {
    const { fleet } = this.#context
    const sources = pieces.record.shards.flatMap(place => {
      const backend = fleet.backend(place.backend)
      if (!place.confirmed || backend === undefined) return []
      return [{ place, backend, isLastResort: bad.has(place.index) || fleet.isDown(place.backend) }]
    })
    const resolved = targets.map(({ index, backend }) => ({ index, backend: fleet.backend(backend)! }))
    const onFault = (shardIndex: number) => faulty.add(shardIndex)
    return await rebuildShards(pieces, resolved, sources, { ...this.#context, onFault }, options)
  }

  /** The new generation. @returns how many shards it moved; 0 when the object is another one than was read, or gone */
  async #commit(record: ObjectRecord, rebuilt: Rebuilt, lost: Lost): Promise<number> {
    const { meta, log } = this.#context
    const { places } = rebuilt
    const placeNow = new Map(places.map(place => [place.index, place]))
    let isOurs = false
    // A failed put may have been committed: its pieces stay. If it was not, they are orphans.
    await meta.put(objectKey(record.objectId), ({ previous, generation, memberSet }) => {
      const now = previous === null ? null : decodeRecord(previous)
      isOurs = now?.state === 'live' && places.every(({ index }) => samePlace(now, record, index))
      if (now === null || !isOurs) return null
      const dead = places.flatMap(({ index, backend, runs }) => {
        const { backend: from } = record.shards[index]!
        const isRewritten = from === backend ? new Set(idsOfRuns(runs)) : new Set<number>()
        // A backend that came back empty gives old ids again: what is live now is not removed.
        const left = ascendingRunsOf([...idsOfRuns(lost.get(index) ?? [])].filter(id => !isRewritten.has(id)))
        return left.length === 0 ? [] : [{ backend: from, runs: left }]
      })
      const shards = now.shards.map(shard => placeNow.get(shard.index) ?? shard)
      return encodeRecord({ ...now, shards, owed: [...now.owed, ...dead], generation, memberSet })
    })
    if (!isOurs) {
      await rebuilt.discard()
      return 0
    }
    const objectId = record.objectId.toString('hex')
    for (const { index, backend } of places) {
      log.event('shard.rebuilt', { objectId, shardIndex: index, backend, from: record.shards[index]!.backend })
    }
    return places.length
  }

  /** Removes what replaced shards left, where their backends answer. @returns why some of it is still there, '' if none */
  async #settle(objectId: Buffer, signal: AbortSignal | undefined): Promise<string> {
    const { meta, fleet, budget, view } = this.#context
    const record = await this.#read(objectId, signal)
    if (record === null || record.owed.length === 0) return ''
    const live = liveIds(record)
    const owed = record.owed.map(({ backend, runs }) => {
      return { backend, runs: ascendingRunsOf([...idsOfRuns(runs)].filter(id => !live.has(`${backend} ${id}`))) }
    })
    const idCount = owed.reduce((sum, { runs }) => sum + runs.reduce((ids, { count }) => ids + count, 0), 0)
    const left = await budget.within(removePieces(objectId, owed, fleet, signal), 1 + idCount / 16)
    if (left.length < record.owed.length) {
      await meta.put(objectKey(objectId), ({ previous, generation, memberSet }) => {
        const now = previous === null ? null : decodeRecord(previous)
        // Only repair adds to a live object's debts, one at a time.
        return now?.state === 'live' ? encodeRecord({ ...now, owed: left, generation, memberSet }) : null
      })
    }
    // What lies on a backend that is no more, or away, holds nothing up: the next survey looks again.
    const late = left.find(({ backend }) => view.isKnown(backend) && !view.isDown(backend))
    return late === undefined ? '' : `${late.backend} does not remove old pieces`
  }

  /** Shards that are where they may stay, or wait to move from a backend that still has them. */
  #countKept({ shards }: ObjectRecord, others: ReadonlySet<number>): number {
    return shards.filter(shard => this.#isKept(shard) && !others.has(shard.index)).length
  }

  #isKept({ confirmed, backend }: ShardPlace): boolean {
    return confirmed && this.#context.view.isKnown(backend)
  }
}

const gone: RepairOutcome = {
  ...{ found: false, rebuiltCount: 0, verifiedCount: 0, badCount: 0, pending: '', suspects: [] },
  ...{ confirmedCount: 0, totalShards: 0, margin: 0 },
}

/** What is promised, for an object that was stored with another k and n than the config has now. */
export function redundancyOf({ dataShards, totalShards }: ObjectRecord, redundancy: Redundancy): Redundancy {
  return { ...redundancy, k: dataShards, n: totalShards }
}

function samePlace(now: ObjectRecord, read: ObjectRecord, index: number): boolean {
  return (
    JSON.stringify([now.shards[index]!.backend, now.shards[index]!.runs]) ===
    JSON.stringify([read.shards[index]!.backend, read.shards[index]!.runs])
  )
}

function liveIds({ shards }: ObjectRecord): Set<string> {
  return new Set(shards.flatMap(({ backend, runs }) => [...idsOfRuns(runs)].map(id => `${backend} ${id}`)))
}
