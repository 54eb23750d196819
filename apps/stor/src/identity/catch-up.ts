import type { Clock } from '@qsfs/concurrency/clock'
import { inLanes } from '@qsfs/concurrency/lanes'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import type { Identity } from './identity.ts'

/** Walks over all records look at so many at a time: one after the other, each waiting for disks that stores keep busy, they
 *  would hardly advance; all at once they would crowd the stores out. */
export const WALK_LANES = 8

/** Brings members up to date that may lack records: all after a start, then those that were away while records were written,
 *  or showed damaged ones. Until then a record survives fewer losses than it should. */
export class CatchUp {
  readonly #identity: Identity
  readonly #meta: MetaStore
  readonly #fleet: Pick<Fleet, 'isMetaDown'>
  readonly #clock: Clock
  readonly #log: Log
  readonly #pauseMs: number
  #notBeforeMs = Number.NEGATIVE_INFINITY

  constructor(
    identity: Identity,
    meta: MetaStore,
    fleet: Pick<Fleet, 'isMetaDown'>,
    clock: Clock,
    log: Log,
    { pauseMs }: { readonly pauseMs: number },
  ) {
    this.#identity = identity
    this.#meta = meta
    this.#fleet = fleet
    this.#clock = clock
    this.#log = log
    this.#pauseMs = pauseMs
  }

  /** Names of members that are not known to hold everything. */
  get lagging(): string[] {
    return this.#identity.places.flatMap(member => (member?.lags ? [member.name] : []))
  }

  /** Walks over all records if a member that is up lags, and the last walk is long enough ago.
   *  @throws StorError when the members do not list; what one record throws is logged, and the walk made again */
  async run({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const isReady = (name: string) => !this.#fleet.isMetaDown(name)
    const behind = this.#identity.places.filter(member => member?.lags && !member.blank && isReady(member.name))
    if (behind.length === 0 || this.#clock.monotonicMs() < this.#notBeforeMs) return
    const options = signal === undefined ? {} : { signal }
    // What is missed, or found damaged, from here on is noted anew.
    for (const member of behind) member!.lags = false
    let isDone = false
    try {
      const keys = await this.#meta.list(options)
      let failedCount = 0
      await inLanes(WALK_LANES, keys, async key => {
        if (!(await this.#widen(key, options))) failedCount++
      })
      const backends = behind.map(member => member!.name)
      this.#log.event('metadata_backends.caught_up', { backends, recordCount: keys.length, failedCount })
      isDone = failedCount === 0
    } finally {
      if (!isDone) for (const member of behind) member!.lags = true
      this.#notBeforeMs = this.#clock.monotonicMs() + this.#pauseMs
    }
  }

  /** @returns whether the record is where it should be */
  async #widen(key: Buffer, options: { readonly signal?: AbortSignal }): Promise<boolean> {
    try {
      await this.#meta.widen(key, options)
      return true
    } catch (error) {
      options.signal?.throwIfAborted()
      if (!(error instanceof StorError)) throw error
      this.#log.warn('record.not_caught_up', { error })
      return false
    }
  }
}
