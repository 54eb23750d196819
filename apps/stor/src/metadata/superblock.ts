import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { layout, type Values } from '@qsfs/bytes/layout'
import { KeyError } from '@qsfs/crypto/errors'
import { KeyRing, unwrapRoot, wrappedKeyBytes } from '@qsfs/crypto/keys'
import type { PassphraseCost } from '@qsfs/crypto/passphrase'
import type { RandomBytes, Secret } from '@qsfs/crypto/secret'
import { StorError } from '../errors.ts'
import { ByteReader } from './byte-reader.ts'

const magic = Buffer.from('QSSB')
const version = 1

/** docs/formats/superblock.md. After it: the wrapped root keys, then the sealed members. */
export const SuperblockHeader = layout('superblock', 80, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  storeId: [8, 'bytes', 16],
  counter: [24, 'u53'],
  memberSet: [32, 'u32'],
  wrapCount: [36, 'u32'],
  sealedBytes: [40, 'u32'],
  // How a passphrase became the master: 0, it did not.
  kdf: [44, 'u16'],
  dataShards: [46, 'u16'],
  kdfMemoryKiB: [48, 'u32'],
  kdfPasses: [52, 'u32'],
  kdfLanes: [56, 'u32'],
  // Where there is a passphrase: CRC-32 of the header without this field. A flipped bit of the salt is no wrong passphrase.
  kdfCheck: [60, 'u32'],
  kdfSalt: [64, 'bytes', 16],
})
const MemberRow = layout('member', 4, { nameBytes: [0, 'u32'] })
const MembersHeader = layout('members', 4, { count: [0, 'u32'] })

const Kdf = { none: 0, argon2id: 1 } as const
/** A rotation keeps the old wraps until the new are read back; more is no rotation. */
const wrapCountMax = 64

/** What a store is: its keys, and which metadata backends hold its records. */
export interface Superblock {
  /** 16 random bytes, made once. */
  readonly storeId: Buffer
  /** Grows with every change; the greatest counts. */
  readonly counter: number
  /** Number of the member set. */
  readonly memberSet: number
  /** k of the records. */
  readonly dataShards: number
  /** Names of the metadata backends: place i keeps shard i. An empty name is a place that is free. */
  readonly members: readonly string[]
  /** How the passphrase becomes the master; null where the master is random. */
  readonly passphrase: PassphraseCost | null
  readonly keys: KeyRing
}

export interface OpenedSuperblock extends Superblock {
  /** Another master opens it, too: the master is being changed. */
  readonly isShared: boolean
}

/** Whether a value begins as a superblock does. */
export function looksLikeSuperblock(value: Buffer): boolean {
  return value.subarray(0, magic.length).equals(magic)
}

/** A new store. */
export function newSuperblock(
  members: readonly string[],
  dataShards: number,
  passphrase: PassphraseCost | null,
  random: RandomBytes,
): Superblock {
  const keys = KeyRing.fresh(random)
  return { storeId: random(16), counter: 1, memberSet: 1, dataShards, members, passphrase, keys }
}

/** @param masters whoever holds one of them can open it: one, or two while the master is being changed */
export function encodeSuperblock(superblock: Superblock, masters: readonly Secret[]): Buffer {
  const { keys, members, storeId, counter, memberSet, dataShards, passphrase } = superblock
  const wraps = masters.flatMap(master => keys.wrapRoots(master))
  const names = members.map(name => Buffer.from(name))
  const plain = Buffer.concat([
    MembersHeader.toBuffer({ count: names.length }),
    ...names.flatMap(name => [MemberRow.toBuffer({ nameBytes: name.length }), name]),
  ])
  const { memoryKiB, passes, lanes, salt } = passphrase ?? { memoryKiB: 0, passes: 0, lanes: 0, salt: Buffer.alloc(16) }
  const header = SuperblockHeader.toBuffer({
    ...{ magic, version, storeId, counter, memberSet, dataShards, wrapCount: wraps.length },
    ...{ sealedBytes: keys.sealedBytesOf(plain.length), kdf: passphrase === null ? Kdf.none : Kdf.argon2id },
    ...{ kdfMemoryKiB: memoryKiB, kdfPasses: passes, kdfLanes: lanes, kdfSalt: salt, kdfCheck: 0 },
  })
  if (passphrase !== null) header.writeUInt32LE(kdfCheckOf(header), SuperblockHeader.offsets.kdfCheck)
  const open = Buffer.concat([header, ...wraps])
  return Buffer.concat([open, keys.sealRecord(plain, contextOf(open))])
}

/** What a superblock says before it is opened: a backend's word.
 *  @throws StorError 'damaged' */
export function peekSuperblock(bytes: Buffer): Pick<Superblock, 'storeId' | 'counter' | 'passphrase'> {
  const { header } = parse(bytes)
  return { storeId: Buffer.from(header.storeId), counter: header.counter, passphrase: passphraseOf(header) }
}

/** @throws StorError 'wrong-key' when it is another store's or the master was changed, 'damaged' when its bytes are not
 *  what was written: another backend's copy may be whole */
export function openSuperblock(bytes: Buffer, master: Secret, random: RandomBytes): OpenedSuperblock {
  const { header, wraps, sealed } = parse(bytes)
  try {
    const { roots, foreignCount } = openRoots(wraps, master)
    const keys = new KeyRing(roots, random)
    const plain = keys.openRecord(sealed, contextOf(bytes.subarray(0, bytes.length - sealed.length)))
    const { storeId, counter, memberSet, dataShards } = header
    const isShared = foreignCount > 0
    const identity = { storeId: Buffer.from(storeId), counter, memberSet, dataShards, members: decodeMembers(plain) }
    return { ...identity, passphrase: passphraseOf(header), keys, isShared }
  } catch (error) {
    if (!(error instanceof KeyError)) throw error
    if (error.reason !== 'wrong-key') throw new StorError('damaged', `a superblock: ${error.message}`, { cause: error })
    const what = header.kdf === Kdf.none ? 'master secret' : 'passphrase'
    throw new StorError('wrong-key', `the ${what} is not the one this store was made with`, { cause: error })
  }
}

function parse(bytes: Buffer) {
  const reader = new ByteReader(bytes, 'a superblock')
  const header = reader.read(SuperblockHeader)
  if (!header.magic.equals(magic)) throw reader.damaged('begins with something else')
  if (header.version !== version) throw reader.damaged(`has version ${header.version}, this program reads ${version}`)
  if (header.wrapCount > wrapCountMax) throw reader.damaged(`holds ${header.wrapCount} wrapped keys`)
  const isChecked = header.kdf === Kdf.none ? header.kdfCheck === 0 : header.kdfCheck === kdfCheckOf(bytes)
  if (header.kdf > Kdf.argon2id || !isChecked) throw reader.damaged('does not say how its passphrase is used')
  const wraps = Array.from({ length: header.wrapCount }, () => reader.bytes(wrappedKeyBytes))
  const sealed = reader.bytes(header.sealedBytes)
  reader.end()
  return { header, wraps, sealed }
}

function passphraseOf(header: Values<typeof SuperblockHeader>): PassphraseCost | null {
  if (header.kdf === Kdf.none) return null
  const { kdfMemoryKiB, kdfPasses, kdfLanes, kdfSalt } = header
  return { memoryKiB: kdfMemoryKiB, passes: kdfPasses, lanes: kdfLanes, salt: Buffer.from(kdfSalt) }
}

function kdfCheckOf(bytes: Buffer): number {
  const header = Buffer.from(bytes.subarray(0, SuperblockHeader.sizeBytes))
  header.writeUInt32LE(0, SuperblockHeader.offsets.kdfCheck)
  return crc32(header)
}

/** Every wrap must be whole, also those of the other master: else damage would be taken for a wrong key.
 *  @throws KeyError */
function openRoots(wraps: readonly Buffer[], master: Secret): { roots: Map<number, Secret>; foreignCount: number } {
  const roots = new Map<number, Secret>()
  let foreign: KeyError | null = null
  for (const wrapped of wraps) {
    try {
      const { rootId, root } = unwrapRoot(master, wrapped)
      roots.set(rootId, root)
    } catch (error) {
      // Expected while the master is being changed: the other master's wraps stand beside ours.
      if (!(error instanceof KeyError && error.reason === 'wrong-key')) throw error
      foreign = error
    }
  }
  if (roots.size === 0) throw foreign ?? new KeyError('damaged', 'it holds no wrapped key')
  return { roots, foreignCount: wraps.length - roots.size }
}

function decodeMembers(plain: Buffer): string[] {
  const reader = new ByteReader(plain, "a superblock's members")
  const { count } = reader.read(MembersHeader)
  const members = Array.from({ length: reader.count(count, MemberRow.sizeBytes) }, () =>
    reader.bytes(reader.read(MemberRow).nameBytes).toString(),
  )
  reader.end()
  return members
}

/** Binds the sealed part to all that stands before it, which so is authenticated too. */
function contextOf(open: Buffer): Buffer {
  return Buffer.concat([Buffer.from('superblock '), createHash('sha256').update(open).digest()])
}
