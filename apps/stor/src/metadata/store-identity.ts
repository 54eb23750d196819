import type { RandomSource } from '@qsfs/concurrency/clock'
import type { Secret } from '@qsfs/crypto/secret'
import type { Log } from '@qsfs/telemetry/log'
import { StorError } from '../errors.ts'
import { type MemberBackend, SUPERBLOCK_KEY } from './member-backend.ts'
import { quorumOf } from './quorum.ts'
import { encodeSuperblock, newSuperblock, openSuperblock, type Superblock } from './superblock.ts'

export interface IdentitySource {
  readonly metaDataShards: number
  readonly random: RandomSource
  readonly log: Log
  /** The master secret; null when there is none yet. */
  readMaster(): Promise<Secret | null>
  /** Makes one, for a new store. */
  createMaster(): Promise<Secret>
}

/** Finds out which store the metadata backends belong to, and opens its keys. On the first start, when all of them
 *  answered that they hold nothing, a store is made. Members that lack the superblock of their store are marked blank.
 *  @throws StorError 'unavailable' when too few answer, 'wrong-key' for another master secret, 'damaged' when no copy is
 *  whole, 'refused' when the backends do not fit together */
export async function openIdentity(members: readonly MemberBackend[], source: IdentitySource): Promise<Superblock> {
  const copies = await Promise.all(members.map(readCopy))
  const silent = members.filter((_, i) => copies[i] === 'silent').map(({ name }) => name)
  const held = copies.filter(copy => typeof copy === 'object')
  const { writeQuorum, n } = quorumOf(source.metaDataShards, members.length)
  if (held.length === 0) {
    if (silent.length > 0) {
      const text = `no metadata backend that answers knows this store, and ${silent.join(', ')} did not answer`
      throw new StorError('unavailable', `${text}; a new store is made only when all answer`)
    }
    return createIdentity(members, source)
  }
  if (silent.length >= writeQuorum) {
    throw new StorError('unavailable', `${silent.join(', ')} of ${n} metadata backends did not answer`)
  }
  const master = await source.readMaster()
  if (master === null) throw new StorError('wrong-key', 'the store exists, but its master secret is not here')
  const superblock = newest(held, master, source)
  assertSameMembers(members, superblock)
  for (const [i, member] of members.entries()) {
    member.blank = copies[i] === 'none'
    if (member.blank) source.log.warn('metadata_backend.blank', { backend: member.name })
  }
  return superblock
}

/** Members in the order of their shards, whatever the order of the config. */
export function inShardOrder(members: readonly MemberBackend[], { members: names }: Superblock): MemberBackend[] {
  return names.map(name => members.find(member => member.name === name)!)
}

/** Whether a member belongs to a store; silent: it does not say. */
export async function hasSuperblock(member: MemberBackend): Promise<boolean | 'silent'> {
  const copy = await readCopy(member)
  return copy === 'silent' ? 'silent' : copy !== 'none'
}

/** Ends a member's being blank: everything else must be on it before. */
export async function adopt(blank: MemberBackend, others: readonly MemberBackend[]): Promise<void> {
  for (const other of others) {
    const copy = await readCopy(other)
    if (typeof copy !== 'object') continue
    await blank.set(SUPERBLOCK_KEY, copy)
    blank.blank = false
    return
  }
  throw new StorError('unavailable', 'no other metadata backend shows the superblock')
}

async function createIdentity(members: readonly MemberBackend[], source: IdentitySource): Promise<Superblock> {
  const master = (await source.readMaster()) ?? (await source.createMaster())
  const superblock = newSuperblock(
    members.map(({ name }) => name),
    source.random,
  )
  const bytes = encodeSuperblock(superblock, [master])
  await Promise.all(members.map(member => member.set(SUPERBLOCK_KEY, bytes)))
  // Two that start a new store on the same backends at the same time must not both believe that they did.
  const copies = await Promise.all(members.map(readCopy))
  if (!copies.every(copy => typeof copy === 'object' && copy.equals(bytes))) {
    throw new StorError('refused', 'somebody else is making a store on the same metadata backends')
  }
  source.log.event('store.created', { storeId: superblock.storeId.toString('hex'), metadataBackends: members.length })
  return superblock
}

async function readCopy(member: MemberBackend): Promise<Buffer | 'none' | 'silent'> {
  try {
    return (await member.peek(SUPERBLOCK_KEY)) ?? 'none'
  } catch (error) {
    // A refusal (password, mode) is for people to mend; silence may pass.
    if (error instanceof StorError && error.reason !== 'refused') return 'silent'
    throw error
  }
}

/** A damaged copy does no harm while another is whole. */
function newest(copies: readonly Buffer[], master: Secret, { random, log }: IdentitySource): Superblock {
  const failures: StorError[] = []
  const opened = copies.flatMap(copy => {
    try {
      return [openSuperblock(copy, master, random)]
    } catch (error) {
      if (!(error instanceof StorError)) throw error
      failures.push(error)
      return []
    }
  })
  const stores = new Set(opened.map(({ storeId }) => storeId.toString('hex')))
  if (stores.size > 1) throw new StorError('refused', 'the metadata backends belong to different stores')
  const [first, ...others] = opened
  if (first === undefined) throw failures.find(({ reason }) => reason === 'wrong-key') ?? failures[0]
  for (const failure of failures) log.warn('superblock.copy_unusable', { error: failure })
  return others.reduce((best, next) => (next.counter > best.counter ? next : best), first)
}

/** A member exchanged in the config would make old and new quorums miss each other. */
function assertSameMembers(members: readonly MemberBackend[], superblock: Superblock): void {
  const configured = new Set(members.map(({ name }) => name))
  const known = new Set(superblock.members)
  const gone = [...known.difference(configured)]
  const added = [...configured.difference(known)]
  if (gone.length === 0 && added.length === 0) return
  const change = [
    gone.length > 0 ? `${gone.join(', ')} is missing from meta.config.backends` : '',
    added.length > 0 ? `${added.join(', ')} is no member` : '',
  ]
  throw new StorError(
    'refused',
    `${change.filter(text => text !== '').join(', and ')}: the store's metadata backends cannot be exchanged by editing ` +
      'the config; to move one, keep its `name` and give the new address',
  )
}
