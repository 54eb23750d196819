import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { Secret } from '@qsfs/crypto/secret'
import type { Log } from '@qsfs/telemetry/log'
import { StorError } from '../errors.ts'
import type { MasterSecret } from '../master-secret.ts'
import { type MemberBackend, SUPERBLOCK_KEY } from '../metadata/member-backend.ts'
import { quorumOf } from '../metadata/quorum.ts'
import { encodeSuperblock, openSuperblock, peekSuperblock, type Superblock } from '../metadata/superblock.ts'

export interface IdentityTools {
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly master: MasterSecret
  /** k of the records, by the config. */
  readonly dataShards: number
}

/** What a member holds under the superblock's key. */
export type Copy = Buffer | 'none' | 'silent'

/** Which store this is: the superblock in force. Changed by one at a time, on at least W members. */
export class Identity {
  readonly #members: readonly MemberBackend[]
  readonly tools: IdentityTools
  #superblock: Superblock
  #bytes: Buffer
  /** Another master opens it, too. */
  #isShared: boolean

  /** @param bytes a superblock that `master` opens
   *  @throws StorError as openSuperblock */
  constructor(members: readonly MemberBackend[], tools: IdentityTools, bytes: Buffer, master: Secret) {
    const { isShared, ...superblock } = openSuperblock(bytes, master, tools.random)
    this.#members = members
    this.tools = tools
    // Superblocks of the first version did not say k.
    this.#superblock = { ...superblock, dataShards: superblock.dataShards || tools.dataShards }
    this.#bytes = bytes
    this.#isShared = isShared
  }

  get superblock(): Superblock {
    return this.#superblock
  }

  get bytes(): Buffer {
    return this.#bytes
  }

  get isShared(): boolean {
    return this.#isShared
  }

  /** The configured members of the set in force, in the order of their places; null where one is not configured. */
  get places(): readonly (MemberBackend | null)[] {
    return this.#superblock.members.map(name => this.#members.find(member => member.name === name) ?? null)
  }

  /** Writes the superblock with a change, and goes by it once W members hold it. It counts above all that any attempt
   *  may have left on members that are away: the time is in its counter.
   *  @throws StorError 'unavailable': the store then has the old one or the new one, and its next start settles which */
  async change(change: Partial<Omit<Superblock, 'storeId' | 'counter'>>, masters: readonly Secret[]): Promise<void> {
    const { clock } = this.tools
    const counter = Math.max(this.#superblock.counter + 1, Math.floor(clock.nowMs()))
    const next = { ...this.#superblock, ...change, counter }
    const bytes = encodeSuperblock(next, masters)
    await this.#publish(bytes, next)
    this.#superblock = next
    this.#bytes = bytes
    this.#isShared = masters.length > 1
  }

  /** A new root key, which seals from now on. The superblock has it before anything does.
   *  @throws as change */
  async growKeys(masters: readonly Secret[]): Promise<void> {
    const { keys } = this.#superblock
    const grown = keys.grown()
    await this.change({ keys: grown }, masters)
    // One ring for all who hold it.
    keys.adopt(grown)
    this.#superblock = { ...this.#superblock, keys }
  }

  /** Brings the superblock in force to W members before anything is built on it.
   *  @throws StorError 'unavailable' */
  settle(): Promise<void> {
    return this.#publish(this.#bytes, this.#superblock)
  }

  /** Whether a member belongs to the store. One that was away during a change is given the superblock that it missed.
   *  @throws StorError 'refused' for another store's, and what writing throws */
  async catchUp(member: MemberBackend): Promise<boolean | 'silent'> {
    const copy = await readCopy(member)
    if (typeof copy !== 'object') return copy === 'silent' ? 'silent' : false
    if (copy.equals(this.#bytes)) return true
    const { storeId } = peekOrNull(copy) ?? this.#superblock
    if (!storeId.equals(this.#superblock.storeId)) {
      member.blank = true
      throw new StorError('refused', `${member.name} holds the superblock of another store`)
    }
    await member.set(SUPERBLOCK_KEY, this.#bytes)
    return true
  }

  /** Ends a member's being blank: everything else must be on it before. */
  async adopt(blank: MemberBackend): Promise<void> {
    await blank.set(SUPERBLOCK_KEY, this.#bytes)
    blank.blank = false
  }

  /** Writes and reads back. Members that are blank are left out: the superblock is what tells that they are filled. */
  async #publish(bytes: Buffer, { members: names, dataShards }: Superblock): Promise<void> {
    const members = this.#members.filter(({ name, blank }) => names.includes(name) && !blank)
    const { writeQuorum } = quorumOf(dataShards, names.filter(name => name !== '').length)
    const held = await Promise.all(
      members.map(async member => {
        try {
          const copy = await readCopy(member)
          if (typeof copy === 'object' && copy.equals(bytes)) return true
          await member.set(SUPERBLOCK_KEY, bytes)
          return (await member.peek(SUPERBLOCK_KEY))?.equals(bytes) ?? false
        } catch (error) {
          if (!(error instanceof StorError)) throw error
          this.tools.log.warn('superblock.not_written', { backend: member.name, error })
          return false
        }
      }),
    )
    const heldCount = held.filter(isHeld => isHeld).length
    if (heldCount >= writeQuorum) return
    const text = `the superblock reached ${heldCount} metadata backends, ${writeQuorum} are needed`
    throw new StorError('unavailable', text)
  }
}

/** @throws StorError 'refused': a password or a mode is for people to mend; silence may pass */
export async function readCopy(member: MemberBackend): Promise<Copy> {
  try {
    return (await member.peek(SUPERBLOCK_KEY)) ?? 'none'
  } catch (error) {
    if (error instanceof StorError && error.reason !== 'refused') return 'silent'
    throw error
  }
}

function peekOrNull(copy: Buffer) {
  try {
    return peekSuperblock(copy)
  } catch (error) {
    if (error instanceof StorError && error.reason === 'damaged') return null
    throw error
  }
}
