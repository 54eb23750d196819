import { type Clock, delay } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { objectIdOfKey } from '../metadata/name-record.ts'
import { decodeScrubPosition, encodeScrubPosition, SCRUB_POSITION_KEY, type ScrubPosition } from './scrub-position.ts'

export interface ScrubLimits {
  /** Every shard is read once in this time. */
  readonly periodMs: number
  /** How often it looks whether something is due. */
  readonly pollMs: number
  /** How much of the round a crash may repeat. */
  readonly saveEveryMs: number
}

/** A listing of objects serves so long; deleted ones in it do no harm, new ones are not due in this round. */
const LISTING_FRESH_MS = 60 * 60 * 1000
/** At one object, a pause between them. */
const ATTEMPTS_MAX = 5
const NONE = Buffer.alloc(16)

/** Has every object read once per period. When an object is due follows from its id, which is random: so much of the
 *  round after its start. What is overdue (the daemon was not running) is done at once, in the budget. The position is a
 *  record, so that restarts go on where it was. */
export class Scrubber {
  readonly #meta: MetaStore
  readonly #clock: Clock
  readonly #log: Log
  readonly #verify: (objectId: Buffer, signal: AbortSignal) => Promise<void>
  readonly #limits: ScrubLimits
  #position: ScrubPosition | null = null
  #savedAtMs = 0

  /** @param verify reads all shards of an object; what it finds is repaired by others. Throws StorError when it cannot */
  constructor(
    meta: MetaStore,
    clock: Clock,
    log: Log,
    verify: (objectId: Buffer, signal: AbortSignal) => Promise<void>,
    limits: ScrubLimits,
  ) {
    this.#meta = meta
    this.#clock = clock
    this.#log = log
    this.#verify = verify
    this.#limits = limits
  }

  /** Null until the position is known. */
  get round(): { readonly startedMs: number; readonly endsMs: number; readonly doneRatio: number } | null {
    if (this.#position === null) return null
    const { roundStartedMs, lastObjectId } = this.#position
    return {
      startedMs: roundStartedMs,
      endsMs: roundStartedMs + this.#limits.periodMs,
      doneRatio: ratioOf(lastObjectId),
    }
  }

  /** Until the signal says stop. */
  async run(signal: AbortSignal): Promise<void> {
    let listed: Buffer[] = []
    let listedAtMs = Number.NEGATIVE_INFINITY
    while (!signal.aborted) {
      try {
        this.#position ??= await this.#load()
        const nowMs = this.#clock.monotonicMs()
        if (nowMs - listedAtMs > LISTING_FRESH_MS) {
          listed = await this.#list(signal)
          listedAtMs = nowMs
        }
        const next = listed[0]
        if (next === undefined) {
          if (await this.#endRound()) listedAtMs = Number.NEGATIVE_INFINITY
          else await this.#pause(signal)
        } else if (this.#isDue(next)) {
          await this.#verifyOrSkip(next, signal)
          listed.shift()
          await this.#move({ ...this.#position!, lastObjectId: next })
        } else await this.#pause(signal)
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof StorError)) throw error
        this.#log.debug('scrub.delayed', { error })
        await this.#pause(signal)
      }
    }
  }

  /** One object whose record cannot be read does not hold up the others for ever. */
  async #verifyOrSkip(objectId: Buffer, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#verify(objectId, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof StorError)) throw error
        if (attempt === ATTEMPTS_MAX) {
          this.#log.warn('scrub.object_skipped', { objectId: objectId.toString('hex'), error })
          return
        }
        await this.#pause(signal)
      }
    }
  }

  /** The next round begins when this one's time is over, also where all was done early. @returns whether it did */
  async #endRound(): Promise<boolean> {
    const { roundStartedMs } = this.#position!
    const nowMs = Math.floor(this.#clock.nowMs())
    if (nowMs < roundStartedMs + this.#limits.periodMs) return false
    this.#log.event('scrub.round_ended', { durationMs: nowMs - roundStartedMs })
    this.#savedAtMs = 0
    await this.#move({ roundStartedMs: nowMs, lastObjectId: NONE })
    return true
  }

  #isDue(objectId: Buffer): boolean {
    const { roundStartedMs } = this.#position!
    return this.#clock.nowMs() >= roundStartedMs + ratioOf(objectId) * this.#limits.periodMs
  }

  async #move(position: ScrubPosition): Promise<void> {
    this.#position = position
    const nowMs = this.#clock.monotonicMs()
    if (this.#savedAtMs !== 0 && nowMs - this.#savedAtMs < this.#limits.saveEveryMs) return
    await this.#meta.put(SCRUB_POSITION_KEY, () => encodeScrubPosition(position))
    this.#savedAtMs = nowMs
  }

  /** A position that is not there, or damaged, is the start of a round, which is kept at once: rounds must end. */
  async #load(): Promise<ScrubPosition> {
    const nowMs = Math.floor(this.#clock.nowMs())
    const stored = await this.#meta.get(SCRUB_POSITION_KEY)
    const position = stored === null ? null : readable(stored.bytes)
    // A clock that was wrong once must not put off the scrub for years.
    if (position !== null && position.roundStartedMs <= nowMs) return position
    await this.#move({ roundStartedMs: nowMs, lastObjectId: NONE })
    return this.#position!
  }

  async #list(signal: AbortSignal): Promise<Buffer[]> {
    const { lastObjectId } = this.#position!
    const ids = (await this.#meta.list({ signal })).map(objectIdOfKey).filter(id => id !== null)
    return ids.filter(id => Buffer.compare(id, lastObjectId) > 0).sort(Buffer.compare)
  }

  async #pause(signal: AbortSignal): Promise<void> {
    await delay(this.#clock, this.#limits.pollMs, { signal }).catch(() => undefined)
  }
}

/** Where an id stands among all there can be, from 0 to 1. */
function ratioOf(objectId: Buffer): number {
  return objectId.readUIntBE(0, 6) / 2 ** 48
}

function readable(bytes: Buffer): ScrubPosition | null {
  try {
    return decodeScrubPosition(bytes)
  } catch (error) {
    if (error instanceof StorError && error.reason === 'damaged') return null
    throw error
  }
}
