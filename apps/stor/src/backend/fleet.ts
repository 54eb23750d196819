import { MiB } from '@qsfs/bytes/units'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { BackendConfig, StorConfig } from '../config.ts'
import type { StorError } from '../errors.ts'
import type { Candidate } from '../placement.ts'
import type { Backend, BackendStat, RecordBackend } from './backend.ts'
import { Health } from './health.ts'
import type { BackendMetrics } from './measure.ts'
import { openBackend, openRecordBackend } from './open-backend.ts'
import type { Observation, Watched } from './patient.ts'
import { type Failure, Vitals } from './vitals.ts'

export interface DataPlace {
  readonly config: BackendConfig
  /** Index of its group in the config. */
  readonly group: number
  readonly backend: Backend
  readonly vitals: Vitals
}
export interface MetaPlace {
  readonly config: BackendConfig
  readonly backend: RecordBackend
  readonly vitals: Vitals
}

/** What the checks of a backend showed, and the requests. */
export interface SeenBackend extends Observation {
  /** It has no room for new shards, or refuses them. */
  readonly isFull: boolean
  readonly isGivenUp: boolean
  /** Failed requests since the start, and the last of them; one that is told by its check is not told twice. */
  readonly errorCount: number
  readonly lastError: Failure | null
}

/** Room that any upload asks for; a backend without it is full for everybody. */
export const SHARD_BYTES_MIN = MiB
/** Of a small backend not all that is asked for is kept free, but so much of its size. */
const RESERVE_RATIO_MAX = 0.05

/** All backends of the config, and how they are. */
export class Fleet implements AsyncDisposable {
  readonly data: readonly DataPlace[]
  readonly meta: readonly MetaPlace[]
  readonly health: Health
  readonly #reserveBytes: number
  readonly #rebuildAfterMs: number

  /** Connects nothing yet.
   *  @throws ConfigError */
  constructor(config: StorConfig, clock: Clock, random: RandomSource, log: Log, metrics: BackendMetrics) {
    this.#reserveBytes = config.backendReserveBytes
    this.#rebuildAfterMs = config.rebuildAfterMs
    this.data = config.groups.flatMap((backends, group) =>
      backends.map(backend => {
        const vitals = new Vitals(clock)
        return {
          config: backend,
          group,
          backend: openBackend(backend, config, clock, random, metrics, vitals),
          vitals,
        }
      }),
    )
    this.meta = config.metaBackends.map(backend => {
      const vitals = new Vitals(clock)
      return {
        config: backend,
        backend: openRecordBackend(backend, config, clock, random, metrics, vitals),
        vitals,
      }
    })
    const watched = [
      ...this.data.map(place => toWatched(dataId(place.backend.name), place)),
      ...this.meta.map(place => toWatched(metaId(place.backend.name), place)),
    ]
    this.health = new Health(watched, clock, log, {
      intervalMs: config.healthCheckIntervalMs,
      answerWithinMs: config.backendTimeoutMs,
      downAfterMs: config.downAfterMs,
      upAfterMs: config.upAfterMs,
    })
  }

  /** A data backend by its name in records; undefined when the config has it no more. */
  backend(name: string): Backend | undefined {
    return this.data.find(({ backend }) => backend.name === name)?.backend
  }

  isDown(name: string): boolean {
    return this.health.isDown(dataId(name))
  }

  /** It has been down for `rebuild_after`. */
  isGivenUp(name: string): boolean {
    return this.#rebuildAfterMs > 0 && this.health.downForMs(dataId(name)) >= this.#rebuildAfterMs
  }

  /** Its shards are to move away; it takes no new ones. */
  isDraining(name: string): boolean {
    return this.data.some(({ config, backend }) => config.drain && backend.name === name)
  }

  isMetaDown(name: string): boolean {
    return this.health.isDown(metaId(name))
  }

  /** What a backend answered turned out to be no good: its status says so. */
  dataFailed(name: string, failure: StorError): void {
    this.data.find(({ backend }) => backend.name === name)?.vitals.failed(failure)
  }

  metaFailed(name: string, failure: StorError): void {
    this.meta.find(({ backend }) => backend.name === name)?.vitals.failed(failure)
  }

  observeData(name: string): Observation {
    return this.health.observe(dataId(name))
  }

  observeMeta(name: string): Observation {
    return this.health.observe(metaId(name))
  }

  /** All that is known of a backend. */
  seen({ backend, vitals }: DataPlace | MetaPlace, use: 'data' | 'meta'): SeenBackend {
    const observation = use === 'data' ? this.observeData(backend.name) : this.observeMeta(backend.name)
    const isFull = vitals.refuses || (use === 'data' && !this.#hasRoom(observation.stat, SHARD_BYTES_MIN))
    const { errorCount, lastError } = vitals
    const isGivenUp = use === 'data' && this.isGivenUp(backend.name)
    return { ...observation, isFull, isGivenUp, errorCount, lastError }
  }

  /** For placement: a backend that is up, or not known to be down, and has room for `shardBytes` besides its reserve. */
  candidates(shardBytes: number): Candidate[] {
    const open = this.data.filter(({ config }) => !config.drain)
    return open.map(({ backend: { name }, group, vitals }) => {
      const { state, stat } = this.observeData(name)
      const freeBytes = stat?.freeBytes ?? null
      const isFull = vitals.refuses || !this.#hasRoom(stat, shardBytes)
      const usable = state !== 'down' && !isFull
      const hindrance = state === 'down' ? 'is down' : isFull ? 'is full' : undefined
      return { name, group, usable, freeBytes, ...(hindrance === undefined ? {} : { hindrance }) }
    })
  }

  /** Data backends that take new shards, up or not, with the room they told last. */
  get planned(): { readonly name: string; readonly group: number; readonly freeBytes: number | null }[] {
    const open = this.data.filter(({ config }) => !config.drain)
    return open.map(({ backend, group }) => {
      const { reachable, stat } = this.observeData(backend.name)
      return { name: backend.name, group, freeBytes: reachable ? (stat?.freeBytes ?? null) : null }
    })
  }

  /** Backends that are full to the last byte cannot be healed, and where records lie beside pieces, nothing can be deleted. */
  #hasRoom(stat: BackendStat | null, shardBytes: number): boolean {
    if (stat?.freeBytes === null || stat === null) return true
    const { freeBytes, usedBytes } = stat
    const small = usedBytes === null ? this.#reserveBytes : (usedBytes + freeBytes) * RESERVE_RATIO_MAX
    return freeBytes >= Math.min(this.#reserveBytes, small) + shardBytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.health[Symbol.asyncDispose]()
    await Promise.all([...this.data, ...this.meta].map(({ backend }) => backend[Symbol.asyncDispose]()))
  }
}

function toWatched(id: string, { backend, vitals }: DataPlace | MetaPlace): Watched {
  return {
    id,
    stat: options => backend.stat(options),
    checked: (stat, askedMs) => vitals.checked(stat, askedMs),
    changed: state => vitals.called(state),
  }
}

const dataId = (name: string) => `data ${name}`
const metaId = (name: string) => `meta ${name}`
