import type { RandomSource } from '@qsfs/concurrency/clock'
import { inLanes } from '@qsfs/concurrency/lanes'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MemberBackend } from '../metadata/member-backend.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { WALK_LANES } from './catch-up.ts'
import type { Identity } from './identity.ts'

/** On a member that is being filled, 16 random bytes under this key: as long as they are there, so is what it was given. */
const FILLING_KEY = Buffer.from('f')

/** The filling of a member by this process. */
interface Filling {
  readonly mark: Buffer
  /** Keys of records that it may lack. Of those written later it is given its shards as every member is. */
  readonly left: Set<Buffer>
  readonly recordCount: number
}

/** Gives members that hold nothing, because they are new or lost everything, every record; the superblock last, which makes
 *  them count for readers. What interrupts it, it goes on from there, or a member that goes away now and then would never be
 *  done. Members that missed a change of the superblock are given it. */
export class Refill {
  readonly #identity: Identity
  readonly #meta: Pick<MetaStore, 'list' | 'widen'>
  readonly #fleet: Pick<Fleet, 'isMetaDown'>
  readonly #random: RandomSource
  readonly #log: Log
  readonly #fillings = new Map<MemberBackend, Filling>()

  constructor(
    identity: Identity,
    meta: Pick<MetaStore, 'list' | 'widen'>,
    fleet: Pick<Fleet, 'isMetaDown'>,
    random: RandomSource,
    log: Log,
  ) {
    this.#identity = identity
    this.#meta = meta
    this.#fleet = fleet
    this.#random = random
    this.#log = log
  }

  /** One member that cannot be filled now does not keep the others waiting.
   *  @throws StorError why the first was not filled: the next run goes on */
  async run({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const failures: StorError[] = []
    for (const member of this.#identity.places) {
      if (member === null || this.#fleet.isMetaDown(member.name)) continue
      try {
        await this.#look(member, signal === undefined ? {} : { signal })
      } catch (error) {
        signal?.throwIfAborted()
        if (!(error instanceof StorError)) throw error
        failures.push(error)
      }
    }
    if (failures[0] !== undefined) throw failures[0]
  }

  async #look(member: MemberBackend, options: { readonly signal?: AbortSignal }): Promise<void> {
    const holds = await this.#identity.catchUp(member)
    if (holds === 'silent') return
    member.blank = !holds
    if (!holds) await this.#fill(member, options)
    this.#fillings.delete(member)
  }

  async #fill(member: MemberBackend, options: { readonly signal?: AbortSignal }): Promise<void> {
    const { left, recordCount, mark } = (await this.#goneOn(member)) ?? (await this.#begun(member, options))
    await inLanes(WALK_LANES, left, async key => {
      const committed = await this.#meta.widen(key, options)
      if (committed?.owed.includes(member.name)) {
        throw new StorError('unavailable', `${member.name} went away while it was being filled`)
      }
      left.delete(key)
    })
    if (!(await isMarked(member, mark))) {
      throw new StorError('unavailable', `${member.name} lost what it was given while it was being filled`)
    }
    await this.#identity.adopt(member)
    await member.remove(FILLING_KEY)
    this.#log.event('metadata_backend.filled', { backend: member.name, recordCount })
  }

  /** Null: it holds nothing of an earlier run. */
  async #goneOn(member: MemberBackend): Promise<Filling | null> {
    const filling = this.#fillings.get(member)
    return filling !== undefined && (await isMarked(member, filling.mark)) ? filling : null
  }

  async #begun(member: MemberBackend, options: { readonly signal?: AbortSignal }): Promise<Filling> {
    const mark = this.#random(16)
    await member.set(FILLING_KEY, mark)
    // What it misses from here on is noted anew, and caught up.
    member.lags = false
    const keys = await this.#meta.list(options)
    const filling = { mark, left: new Set(keys), recordCount: keys.length }
    this.#fillings.set(member, filling)
    this.#log.event('metadata_backend.filling', { backend: member.name, recordCount: keys.length })
    return filling
  }
}

async function isMarked(member: MemberBackend, mark: Buffer): Promise<boolean> {
  return (await member.peek(FILLING_KEY))?.equals(mark) ?? false
}
