import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { BackendConfig, StorConfig } from '../config.ts'
import type { Candidate } from '../placement.ts'
import type { Backend, RecordBackend } from './backend.ts'
import { Health, type Observation } from './health.ts'
import type { BackendMetrics } from './measure.ts'
import { openBackend, openRecordBackend } from './open-backend.ts'

export interface DataPlace {
  readonly config: BackendConfig
  /** Index of its group in the config. */
  readonly group: number
  readonly backend: Backend
}
export interface MetaPlace {
  readonly config: BackendConfig
  readonly backend: RecordBackend
}

/** All backends of the config, and how they are. */
export class Fleet implements AsyncDisposable {
  readonly data: readonly DataPlace[]
  readonly meta: readonly MetaPlace[]
  readonly health: Health

  /** Connects nothing yet.
   *  @throws ConfigError */
  constructor(config: StorConfig, clock: Clock, random: RandomSource, log: Log, metrics: BackendMetrics) {
    this.data = config.groups.flatMap((backends, group) =>
      backends.map(backend => {
        return { config: backend, group, backend: openBackend(backend, config, clock, random, metrics) }
      }),
    )
    this.meta = config.metaBackends.map(backend => {
      return { config: backend, backend: openRecordBackend(backend, config, clock, random, metrics) }
    })
    const watched = [
      ...this.data.map(({ backend }) => ({ id: dataId(backend.name), stat: backend.stat.bind(backend) })),
      ...this.meta.map(({ backend }) => ({ id: metaId(backend.name), stat: backend.stat.bind(backend) })),
    ]
    this.health = new Health(watched, clock, log, {
      intervalMs: config.healthCheckIntervalMs,
      answerWithinMs: config.backendTimeoutMs,
      downAfterMs: config.downAfterMs,
    })
  }

  /** A data backend by its name in records; undefined when the config has it no more. */
  backend(name: string): Backend | undefined {
    return this.data.find(({ backend }) => backend.name === name)?.backend
  }

  isDown(name: string): boolean {
    return this.health.isDown(dataId(name))
  }

  /** Its shards are to move away; it takes no new ones. */
  isDraining(name: string): boolean {
    return this.data.some(({ config, backend }) => config.drain && backend.name === name)
  }

  isMetaDown(name: string): boolean {
    return this.health.isDown(metaId(name))
  }

  observeData(name: string): Observation {
    return this.health.observe(dataId(name))
  }

  observeMeta(name: string): Observation {
    return this.health.observe(metaId(name))
  }

  /** For placement: a backend that is up, or not known to be down, and has room for `shardBytes`. */
  candidates(shardBytes: number): Candidate[] {
    const open = this.data.filter(({ config }) => !config.drain)
    return open.map(({ backend, group }) => {
      const { state, stat } = this.observeData(backend.name)
      const freeBytes = stat?.freeBytes ?? null
      const hasRoom = freeBytes === null || freeBytes >= shardBytes
      return { name: backend.name, group, usable: state !== 'down' && hasRoom, freeBytes }
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.health[Symbol.asyncDispose]()
    await Promise.all([...this.data, ...this.meta].map(({ backend }) => backend[Symbol.asyncDispose]()))
  }
}

const dataId = (name: string) => `data ${name}`
const metaId = (name: string) => `meta ${name}`
