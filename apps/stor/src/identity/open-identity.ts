import type { Secret } from '@qsfs/crypto/secret'
import { StorError } from '../errors.ts'
import { type MemberBackend, SUPERBLOCK_KEY } from '../metadata/member-backend.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { quorumOf } from '../metadata/quorum.ts'
import {
  encodeSuperblock,
  newSuperblock,
  type OpenedSuperblock,
  openSuperblock,
  peekSuperblock,
} from '../metadata/superblock.ts'
import { type Copy, Identity, type IdentityTools, readCopy } from './identity.ts'
import { assertEmpty, assertOthersAreFilled, nextPlaces, spreadOver } from './member-change.ts'

export interface OpeningTools extends IdentityTools {
  /** Whether the data backends hold shards, of whatever store. */
  dataHoldsShards(): Promise<boolean>
  /** The records of an identity; `remaining`: as members that stay see them, deciding only when all answer. */
  records(identity: Identity, remaining?: readonly MemberBackend[]): MetaStore
}

/** Finds out which store the metadata backends belong to, opens its keys, and makes the one change of its members that
 *  the config may ask for. On the first start, when all of them answered that they hold nothing, a store is made. Members
 *  that lack the superblock of their store are marked blank.
 *  @throws StorError 'unavailable' when too few answer, 'wrong-key' for another master secret, 'damaged' when no copy is
 *  whole, 'refused' when the backends do not fit together */
export async function openIdentity(members: readonly MemberBackend[], tools: OpeningTools): Promise<Identity> {
  const copies = await Promise.all(members.map(readCopy))
  const held = copies.filter(copy => typeof copy === 'object')
  if (held.length === 0) {
    const silent = members.filter((_, i) => copies[i] === 'silent').map(({ name }) => name)
    if (silent.length > 0) {
      const text = `no metadata backend that answers knows this store, and ${silent.join(', ')} did not answer`
      throw new StorError('unavailable', `${text}; a new store is made only when all answer`)
    }
    return createIdentity(members, tools)
  }
  const { superblock, bytes, master, newerCount } = await newest(held, tools)
  assertSettled(members, copies, superblock, newerCount, tools)
  const identity = new Identity(members, tools, bytes, master)
  for (const [i, member] of members.entries()) {
    member.blank = copies[i] === 'none'
    if (member.blank) tools.log.warn('metadata_backend.blank', { backend: member.name })
  }
  const next = nextMembers(identity, members)
  await settleIfPossible(identity, tools)
  if (next !== null) await changeMembers(identity, members, next, master, tools)
  return identity
}

/** Readers need no quorum that can write: too few members to bring the superblock to are no reason not to open. Each that
 *  comes back is given it.
 *  @throws StorError but 'unavailable' */
async function settleIfPossible(identity: Identity, { log }: OpeningTools): Promise<void> {
  try {
    await identity.settle()
  } catch (error) {
    if (!(error instanceof StorError && error.reason === 'unavailable')) throw error
    log.warn('superblock.not_settled', { error })
  }
}

/** The places of the set that the config asks for, null when it is the one in force.
 *  @throws StorError 'refused' */
function nextMembers({ superblock, isShared }: Identity, members: readonly MemberBackend[]): string[] | null {
  const next = nextPlaces(
    superblock.members,
    members.map(({ name }) => name),
  )
  if (next === null) return null
  assertOthersAreFilled(members.filter(({ name }) => superblock.members.includes(name)))
  if (!isShared) return next
  throw new StorError('refused', 'the master secret is being changed: change metadata backends when that is done')
}

/** Members that lose the superblock, or have not got it yet, count as silent to readers: so a change is one write of the
 *  superblock, and a crash leaves either set in force. */
async function changeMembers(
  identity: Identity,
  members: readonly MemberBackend[],
  next: readonly string[],
  master: Secret,
  tools: OpeningTools,
): Promise<void> {
  const { members: places, memberSet } = identity.superblock
  const staying = members.filter(({ name }) => places.includes(name))
  const joining = members.find(({ name }) => !places.includes(name))
  if (joining === undefined) await spreadOver(tools.records(identity, staying), staying)
  else await assertEmpty(joining)
  const leaving = places.filter(name => name !== '' && !next.includes(name))
  await identity.change({ members: next, memberSet: memberSet + 1 }, [master])
  tools.log.event('metadata_backends.changed', {
    memberSet: memberSet + 1,
    joining: joining?.name ?? null,
    leaving: leaving[0] ?? null,
  })
}

async function createIdentity(members: readonly MemberBackend[], tools: OpeningTools): Promise<Identity> {
  const { random, log } = tools
  if (await tools.dataHoldsShards()) {
    throw new StorError(
      'refused',
      'the metadata backends hold nothing, but the data backends hold shards: if the metadata was lost, `stor recover` ' +
        'rebuilds it; a new store begins on empty data backends',
    )
  }
  const { master, passphrase } = await tools.master.create()
  const names = members.map(({ name }) => name)
  const bytes = encodeSuperblock(newSuperblock(names, tools.dataShards, passphrase, random), [master])
  await Promise.all(members.map(member => member.set(SUPERBLOCK_KEY, bytes)))
  // Two that start a new store on the same backends at the same time must not both believe that they did.
  const copies = await Promise.all(members.map(readCopy))
  if (!copies.every(copy => typeof copy === 'object' && copy.equals(bytes))) {
    throw new StorError('refused', 'somebody else is making a store on the same metadata backends')
  }
  const identity = new Identity(members, tools, bytes, master)
  const storeId = identity.superblock.storeId.toString('hex')
  log.event('store.created', { storeId, metadataBackends: members.length })
  return identity
}

interface Found {
  readonly superblock: OpenedSuperblock
  readonly bytes: Buffer
  readonly master: Secret
  /** Copies that are newer and sealed for another master. */
  readonly newerCount: number
}

/** The newest copy that the master opens. A damaged copy does no harm while another is whole.
 *  @throws StorError as openIdentity */
export async function newest(
  copies: readonly Buffer[],
  { master: source, random, log }: IdentityTools,
): Promise<Found> {
  const failures: StorError[] = []
  const foreign: number[] = []
  const opened: Omit<Found, 'newerCount'>[] = []
  for (const bytes of copies) {
    try {
      const { counter, passphrase } = peekSuperblock(bytes)
      // The same for all copies but forged ones, as a rule; a forged one costs what PassphraseCost may cost at most.
      const master = await source.read(passphrase)
      if (master === null) throw new StorError('wrong-key', 'the store exists, but its master secret is not here')
      try {
        opened.push({ superblock: openSuperblock(bytes, master, random), bytes, master })
      } catch (error) {
        if (error instanceof StorError && error.reason === 'wrong-key') foreign.push(counter)
        throw error
      }
    } catch (error) {
      if (!(error instanceof StorError)) throw error
      failures.push(error)
    }
  }
  const stores = new Set(opened.map(({ superblock }) => superblock.storeId.toString('hex')))
  if (stores.size > 1) throw new StorError('refused', 'the metadata backends belong to different stores')
  const [first, ...others] = opened
  if (first === undefined) throw failures.find(({ reason }) => reason === 'wrong-key') ?? failures[0]
  for (const failure of failures) log.warn('superblock.copy_unusable', { error: failure })
  const best = others.reduce((a, b) => (b.superblock.counter > a.superblock.counter ? b : a), first)
  return { ...best, newerCount: foreign.filter(counter => counter > best.superblock.counter).length }
}

/** Refuses what may not be the superblock in force: too many of its members are silent, or gone from the config; or so
 *  many have a newer one for another master that the change of the master was done.
 *  @throws StorError 'unavailable', 'wrong-key', 'refused' */
function assertSettled(
  members: readonly MemberBackend[],
  copies: readonly Copy[],
  superblock: OpenedSuperblock,
  newerCount: number,
  { dataShards: configured }: IdentityTools,
): void {
  const dataShards = superblock.dataShards || configured
  if (dataShards !== configured) {
    const text = `meta.config.minimal_shards is ${dataShards} for the life of this store, not ${configured}`
    throw new StorError('refused', text)
  }
  const names = superblock.members.filter(name => name !== '')
  const { writeQuorum, n } = quorumOf(dataShards, names.length)
  const unseen = names.filter(name => {
    const at = members.findIndex(member => member.name === name)
    return at === -1 || copies[at] === 'silent'
  })
  if (newerCount > 0 && newerCount + unseen.length >= writeQuorum) {
    throw new StorError('wrong-key', 'the master secret was changed: this is the one before')
  }
  if (unseen.length < writeQuorum) return
  nextPlaces(
    superblock.members,
    members.map(({ name }) => name),
  )
  throw new StorError('unavailable', `${unseen.join(', ')} of ${n} metadata backends did not answer`)
}
