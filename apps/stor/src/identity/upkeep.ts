import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { CatchUp } from './catch-up.ts'
import type { Identity } from './identity.ts'
import { completeRotation, rotateMaster, rotateRoot } from './key-rotation.ts'
import { Presence } from './presence.ts'
import { Refill } from './refill.ts'
import { type RewrapProgress, RewrapWalk } from './rewrap-walk.ts'
import { SuperblockCopies } from './superblock-copies.ts'

/** Copies are looked at so often; the first time so long after the start, when a new store holds something. */
const COPIES_EVERY_MS = 60 * 60 * 1000
const COPIES_FIRST_MS = 60_000

interface Signalled {
  readonly signal?: AbortSignal
}

/** What keeps the metadata whole beside its records: members are filled and caught up, records sealed under the newest root
 *  key, copies of the superblock kept, a second daemon noticed. */
export class MetadataUpkeep {
  readonly #identity: Identity
  readonly #clock: Clock
  readonly #log: Log
  readonly #walk: RewrapWalk
  readonly #refill: Refill
  readonly #catchUp: CatchUp
  readonly #copies: SuperblockCopies
  readonly #presence: Presence
  #copiesDueMs: number
  /** One change of the superblock at a time. */
  #rotating: Promise<unknown> = Promise.resolve()

  /** @param pauseMs between two walks over all records */
  constructor(
    identity: Identity,
    meta: MetaStore,
    fleet: Fleet,
    clock: Clock,
    random: RandomSource,
    log: Log,
    { pauseMs }: { readonly pauseMs: number },
  ) {
    this.#identity = identity
    this.#clock = clock
    this.#log = log
    this.#walk = new RewrapWalk(meta, identity.superblock.keys)
    this.#refill = new Refill(identity, meta, fleet, random, log)
    this.#catchUp = new CatchUp(identity, meta, fleet, clock, log, { pauseMs })
    this.#copies = new SuperblockCopies(identity, meta, fleet, log)
    this.#presence = new Presence(identity, fleet, clock, random, log)
    this.#copiesDueMs = clock.monotonicMs() + COPIES_FIRST_MS
  }

  /** Root keys so far, records still to be sealed under the newest, members that do not hold everything yet, members
   *  that may lack something, and when another daemon was seen on this store. */
  get status() {
    return {
      rootKeyCount: this.#identity.superblock.keys.rootIds.length,
      rewrapping: this.#walk.progress,
      filling: this.#identity.places.flatMap(member => (member?.blank ? [member.name] : [])),
      lagging: this.#catchUp.lagging,
      otherSeenMs: this.#presence.otherSeenMs,
    }
  }

  /** What is due, in the daemon, now and then. One thing that fails does not keep the others waiting.
   *  @throws StorError what failed first: it is tried again */
  async tick(signal: AbortSignal): Promise<void> {
    const steps = [
      () => this.#presence.tick({ signal }),
      () => this.#refill.run({ signal }),
      () => this.#catchUp.run({ signal }),
      () => this.#completeRotation(),
      () => this.#rewrapIfDue(signal),
      () => this.#refreshCopies(signal),
    ]
    const failures: StorError[] = []
    for (const step of steps) {
      try {
        await step()
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof StorError)) throw error
        failures.push(error)
      }
    }
    if (failures[0] !== undefined) throw failures[0]
  }

  /** A new master secret, or with `deep` a new root key. `finish`: seal all records anew before it resolves; the daemon
   *  does that beside its other work.
   *  @throws StorError */
  rotate(
    { deep, finish }: { readonly deep: boolean; readonly finish: boolean },
    options: Signalled & { readonly onProgress?: (progress: RewrapProgress) => void } = {},
  ): Promise<void> {
    return this.#alone(async () => {
      await (deep ? rotateRoot(this.#identity) : rotateMaster(this.#identity))
      if (finish) await this.#rewrap(options)
      const { signal } = options
      await this.#copies.refresh({ signal })
    })
  }

  async #completeRotation(): Promise<void> {
    if (this.#identity.isShared) await this.#alone(() => completeRotation(this.#identity))
  }

  async #rewrapIfDue(signal: AbortSignal): Promise<void> {
    if (this.#walk.isDue) await this.#rewrap({ signal })
  }

  async #refreshCopies(signal: AbortSignal): Promise<void> {
    if (this.#clock.monotonicMs() < this.#copiesDueMs) return
    await this.#copies.refresh({ signal })
    this.#copiesDueMs = this.#clock.monotonicMs() + COPIES_EVERY_MS
  }

  #alone(change: () => Promise<void>): Promise<void> {
    const changed = this.#rotating.then(change)
    this.#rotating = changed.catch(() => undefined)
    return changed
  }

  async #rewrap(options: Parameters<RewrapWalk['run']>[0]): Promise<void> {
    const rewrappedCount = await this.#walk.run(options)
    this.#log.event('records.rewrapped', { recordCount: rewrappedCount })
  }
}
