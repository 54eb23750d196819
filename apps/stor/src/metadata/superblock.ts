import { createHash } from 'node:crypto'
import { layout } from '@qsfs/bytes/layout'
import { KeyError } from '@qsfs/crypto/errors'
import { KeyRing, unwrapRoot, wrappedKeyBytes } from '@qsfs/crypto/keys'
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
  kdf: [44, 'u32'],
  kdfMemoryKiB: [48, 'u32'],
  kdfPasses: [52, 'u32'],
  kdfLanes: [56, 'u32'],
  reserved: [60, 'u32'],
  kdfSalt: [64, 'bytes', 16],
})
const MemberRow = layout('member', 4, { nameBytes: [0, 'u32'] })
const MembersHeader = layout('members', 4, { count: [0, 'u32'] })

/** A rotation keeps the old wraps until the new are read back; more is no rotation. */
const wrapCountMax = 64

/** What a store is: its keys, and which metadata backends hold its records. */
export interface Superblock {
  /** 16 random bytes, made once. */
  readonly storeId: Buffer
  /** Grows with every change; the greatest counts. */
  readonly counter: number
  /** Number and names of the metadata backends, in the order of their shards. */
  readonly memberSet: number
  readonly members: readonly string[]
  readonly keys: KeyRing
}

/** A new store. */
export function newSuperblock(members: readonly string[], random: RandomBytes): Superblock {
  return { storeId: random(16), counter: 1, memberSet: 1, members, keys: KeyRing.fresh(random) }
}

/** @param masters whoever holds one of them can open it: one, or two while the master is being changed */
export function encodeSuperblock(superblock: Superblock, masters: readonly Secret[]): Buffer {
  const { keys, members, storeId, counter, memberSet } = superblock
  const wraps = masters.flatMap(master => keys.wrapRoots(master))
  const names = members.map(name => Buffer.from(name))
  const plain = Buffer.concat([
    MembersHeader.toBuffer({ count: names.length }),
    ...names.flatMap(name => [MemberRow.toBuffer({ nameBytes: name.length }), name]),
  ])
  const noPassphrase = { kdf: 0, kdfMemoryKiB: 0, kdfPasses: 0, kdfLanes: 0, kdfSalt: Buffer.alloc(16) }
  const header = SuperblockHeader.toBuffer({
    ...{ magic, version, storeId, counter, memberSet, wrapCount: wraps.length, reserved: 0 },
    ...{ sealedBytes: keys.sealedBytesOf(plain.length), ...noPassphrase },
  })
  const open = Buffer.concat([header, ...wraps])
  return Buffer.concat([open, keys.sealRecord(plain, contextOf(open))])
}

/** @throws StorError 'wrong-key' when it is another store's or the master was changed, 'damaged' when its bytes are not
 *  what was written: another backend's copy may be whole */
export function openSuperblock(bytes: Buffer, master: Secret, random: RandomBytes): Superblock {
  const reader = new ByteReader(bytes, 'a superblock')
  const header = reader.read(SuperblockHeader)
  if (!header.magic.equals(magic)) throw reader.damaged('begins with something else')
  if (header.version !== version) throw reader.damaged(`has version ${header.version}, this program reads ${version}`)
  if (header.wrapCount > wrapCountMax) throw reader.damaged(`holds ${header.wrapCount} wrapped keys`)
  const wraps = Array.from({ length: header.wrapCount }, () => reader.bytes(wrappedKeyBytes))
  const sealed = reader.bytes(header.sealedBytes)
  reader.end()
  try {
    const keys = new KeyRing(openRoots(wraps, master), random)
    const plain = keys.openRecord(sealed, contextOf(bytes.subarray(0, bytes.length - sealed.length)))
    const { storeId, counter, memberSet } = header
    return { storeId, counter, memberSet, members: decodeMembers(plain), keys }
  } catch (error) {
    if (!(error instanceof KeyError)) throw error
    if (error.reason !== 'wrong-key') throw new StorError('damaged', `a superblock: ${error.message}`, { cause: error })
    throw new StorError('wrong-key', 'the master secret is not the one this store was made with', { cause: error })
  }
}

function openRoots(wraps: readonly Buffer[], master: Secret): Map<number, Secret> {
  const roots = new Map<number, Secret>()
  let failure: unknown = new KeyError('damaged', 'it holds no wrapped key')
  for (const wrapped of wraps) {
    try {
      const { rootId, root } = unwrapRoot(master, wrapped)
      roots.set(rootId, root)
    } catch (error) {
      // Expected while the master is being changed: the other master's wraps stand beside ours.
      failure = error
    }
  }
  if (roots.size === 0) throw failure
  return roots
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
