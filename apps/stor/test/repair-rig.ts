import { randomBytes } from 'node:crypto'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import type { Backend, BackendOptions, PieceId } from '../src/backend/backend.ts'
import { MemoryBackend, MemoryRecordBackend } from '../src/backend/memory-backend.ts'
import { MetaStore } from '../src/metadata/meta-store.ts'
import { objectKey } from '../src/metadata/name-record.ts'
import { decodeRecord, encodeRecord, type ObjectRecord } from '../src/metadata/object-record.ts'
import type { FramePool } from '../src/pipeline/frame-pool.ts'
import { readRange } from '../src/pipeline/retrieve.ts'
import { idsOfRuns } from '../src/pipeline/shard-writer.ts'
import { storeObject } from '../src/pipeline/store.ts'
import { RepairBudget } from '../src/repair/budget.ts'
import { ObjectRepair } from '../src/repair/object-repair.ts'
import { PipelineRig } from './pipeline-rig.ts'

const REDUNDANCY = { k: 4, n: 6, redundantGroups: 0, redundantNodes: 2 }

/** Whatever stands between the store and a backend's or a member's method. */
export type Interceptor = (method: string) => Promise<void> | void

/** Repair with everything around it in memory. Each `process` sees the same backends through another interceptor. */
export class RepairRig {
  readonly pool: FramePool
  readonly pipeline: PipelineRig
  readonly down = new Set<string>()
  readonly givenUp = new Set<string>()
  readonly data: readonly SpoiledBackend[]
  readonly members = [1, 2, 3, 4].map(i => new MemoryRecordBackend(`m${i}`))

  constructor(pool: FramePool, backendCount = 6) {
    this.pool = pool
    this.data = Array.from({ length: backendCount }, (_, i) => new SpoiledBackend(`b${i}`))
    this.pipeline = new PipelineRig(pool, [...this.data])
  }

  async store(path: string): Promise<Buffer> {
    const request = {
      dataShards: 4,
      writeQuorum: 5,
      frameBytes: 64 * 1024,
      epoch: 1,
      compress: true,
      verifyFrames: false,
    }
    const backends = this.data.slice(0, 6)
    const { objectId } = await storeObject(
      { path, name: path, backends, ...request },
      this.pipeline.storeContext,
      async record => {
        await this.meta().put(objectKey(record.objectId), ({ generation, memberSet }) =>
          encodeRecord({ ...record, generation, memberSet }),
        )
      },
    )
    return objectId
  }

  /** A process that repairs. */
  repair(
    intercept: Interceptor = () => undefined,
    draining: ReadonlySet<string> = new Set(),
    { redundancy = REDUNDANCY, groupOf = (name: string) => Number(name.slice(1)) } = {},
  ): ObjectRepair {
    const fleet = this.fleet(intercept, draining, groupOf)
    const budget = new RepairBudget(systemClock, () => false, {
      bytesPerSecond: 1e12,
      cpuShare: 1e12,
      answerWithinMs: 10_000,
    })
    return new ObjectRepair({
      meta: this.meta(intercept),
      fleet,
      ...{ keys: this.pipeline.keys, clock: systemClock, random: randomBytes, log: silentLog },
      ...{ budget, redundancy },
      view: {
        isKnown: name => fleet.backend(name) !== undefined,
        isDown: fleet.isDown,
        isGivenUp: name => this.givenUp.has(name),
        isDraining: name => draining.has(name),
        wasEmptied: () => false,
      },
    })
  }

  /** The data backends, as a process sees them. */
  fleet(
    intercept: Interceptor = () => undefined,
    draining: ReadonlySet<string> = new Set(),
    groupOf = (name: string) => Number(name.slice(1)),
  ) {
    const backends = this.data.map(backend => intercepted<Backend>(backend, intercept))
    return {
      backend: (name: string) => backends.find(backend => backend.name === name),
      isDown: (name: string) => this.down.has(name),
      candidates: () =>
        this.data
          .filter(({ name }) => !draining.has(name))
          .map(({ name }) => ({ name, group: groupOf(name), usable: !this.down.has(name), freeBytes: null })),
    }
  }

  async record(objectId: Buffer): Promise<ObjectRecord> {
    return decodeRecord((await this.meta().get(objectKey(objectId)))!.bytes)
  }

  async read(objectId: Buffer): Promise<Buffer> {
    const record = await this.record(objectId)
    const { readContext } = this.pipeline
    return readRange(record, { of: 'file', offsetBytes: 0, lengthBytes: 1e9 }, { ...readContext, isDown: () => false })
  }

  /** Values that lie on data backends and that the record does not name. */
  async unnamedCount(objectId: Buffer): Promise<number> {
    const { shards, owed } = await this.record(objectId)
    let count = 0
    for (const backend of this.data) {
      const places = [...shards, ...owed].filter(place => place.backend === backend.name)
      const named = new Set(places.flatMap(({ runs }) => [...idsOfRuns(runs)]))
      for await (const ids of backend.list()) count += ids.filter(id => !named.has(id)).length
    }
    return count
  }

  /** The records, as a process sees them. */
  meta(intercept: Interceptor = () => undefined): MetaStore {
    const members = this.members.map((member, place) => {
      return { backend: intercepted(member, intercept), place, isDown: () => false }
    })
    return new MetaStore(members, this.pipeline.keys, systemClock, randomBytes, silentLog, {
      ...{ dataShards: 2, memberSet: 1, epoch: 1, answerWithinMs: 5000, settleWithinMs: 5000 },
    })
  }
}

/** Gives back other bytes than it was given, where told to. */
export class SpoiledBackend extends MemoryBackend {
  readonly #spoiled = new Map<PieceId, Buffer>()

  spoil(id: PieceId, bytes: Buffer): void {
    this.#spoiled.set(id, bytes)
  }

  override async get(id: PieceId, options?: BackendOptions): Promise<Buffer> {
    const bytes = await super.get(id, options)
    return Buffer.from(this.#spoiled.get(id) ?? bytes)
  }
}

/** A backend whose every call goes by the interceptor first. */
function intercepted<B extends object>(backend: B, intercept: Interceptor): B {
  return new Proxy(backend, {
    get(target, name) {
      const value = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (name === 'list') {
        return async function* (...args: unknown[]) {
          await intercept(name)
          yield* value.apply(target, args)
        }
      }
      return async (...args: unknown[]) => {
        await intercept(String(name))
        return await value.apply(target, args)
      }
    },
  })
}
