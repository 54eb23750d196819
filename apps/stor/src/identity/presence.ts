import { layout } from '@qsfs/bytes/layout'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import { ByteReader } from '../metadata/byte-reader.ts'
import type { MemberBackend } from '../metadata/member-backend.ts'
import type { Identity } from './identity.ts'

/** Where a daemon says that it is there: 'w', whole on every metadata backend. */
const PRESENCE_KEY = Buffer.from('w')
const MAGIC = Buffer.from('QSSW')
const VERSION = 1
/** docs/formats/metadata.md. */
export const PresenceRecord = layout('presence', 40, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  writerId: [8, 'bytes', 16],
  atMs: [24, 'u53'],
  reserved: [32, 'u64'],
})

/** Notices a second daemon on the same store, on another machine or behind another socket, where no lock keeps it away: each
 *  says now and then that it is there, so each finds the other's word where its own was. It loses nothing by being noticed
 *  late: records go by their quorum, pieces have ids of their own. */
export class Presence {
  readonly #identity: Identity
  readonly #fleet: Pick<Fleet, 'isMetaDown'>
  readonly #clock: Clock
  readonly #log: Log
  readonly #writerId: Buffer
  #isAnnounced = false
  #otherSeenMs: number | null = null

  constructor(identity: Identity, fleet: Pick<Fleet, 'isMetaDown'>, clock: Clock, random: RandomSource, log: Log) {
    this.#identity = identity
    this.#fleet = fleet
    this.#clock = clock
    this.#log = log
    this.#writerId = random(16)
  }

  /** When another daemon's word was last found, ms since 1970; null: never since the start. */
  get otherSeenMs(): number | null {
    return this.#otherSeenMs
  }

  /** Looks, and says that it is there. A member that does not take it says nothing either way. */
  async tick({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const options = signal === undefined ? {} : { signal }
    const atMs = Math.floor(this.#clock.nowMs())
    const bytes = PresenceRecord.toBuffer({
      magic: MAGIC,
      version: VERSION,
      writerId: this.#writerId,
      atMs,
      reserved: 0n,
    })
    const members = this.#identity.places.filter(member => member !== null && !this.#fleet.isMetaDown(member.name))
    const seen = await Promise.all(members.map(member => this.#exchange(member!, bytes, options)))
    signal?.throwIfAborted()
    // What is found at the start is the last word of a daemon that is no more, as a rule.
    if (this.#isAnnounced && seen.includes('other')) {
      this.#otherSeenMs = atMs
      this.#log.error('store.shared', { text: 'another stor works on this store: stop one of them' })
    }
    this.#isAnnounced = true
  }

  async #exchange(
    member: MemberBackend,
    bytes: Buffer,
    options: { readonly signal?: AbortSignal },
  ): Promise<'ours' | 'other' | 'unknown'> {
    let whose: 'ours' | 'other' | 'unknown' = 'unknown'
    try {
      const found = await member.peek(PRESENCE_KEY, options)
      if (found !== null) whose = this.#whose(found)
      await member.set(PRESENCE_KEY, bytes, options)
    } catch (error) {
      if (!(error instanceof StorError) && !options.signal?.aborted) throw error
      this.#log.debug('presence.not_told', { backend: member.name, error })
    }
    return whose
  }

  #whose(found: Buffer): 'ours' | 'other' | 'unknown' {
    try {
      const { magic, version, writerId } = new ByteReader(found, "a daemon's word").read(PresenceRecord)
      if (!magic.equals(MAGIC) || version !== VERSION) return 'unknown'
      return writerId.equals(this.#writerId) ? 'ours' : 'other'
    } catch (error) {
      if (error instanceof StorError) return 'unknown'
      throw error
    }
  }
}
