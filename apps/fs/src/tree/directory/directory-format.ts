import assert from 'node:assert'
import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../../errors.ts'
import { collisionsMax } from './name-hash.ts'

/** One name. `name` is latin1: one character per byte. */
export interface DirectoryName {
  readonly name: string
  readonly nodeId: number
  /** File type, as the top 4 bits of 16 in `mode`. */
  readonly type: number
  readonly cookie: number
}

/** docs/formats/directory.md: a bucket is a list of names sorted by cookie, or says which of its 16 children exist. */
const NodeHeader = layout('directory bucket', 24, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  kind: [6, 'u8'],
  depth: [7, 'u8'],
  nodeId: [8, 'u53'],
  children: [16, 'u16'],
  reserved: [18, 'u16'],
  count: [20, 'u32'],
})
const nodeMagic = Buffer.from('QDIR')
const nodeVersion = 1
const Kind = { names: 0, split: 1 } as const

const NameLayout = layout('name', 20, {
  nodeId: [0, 'u53'],
  cookie: [8, 'u53'],
  type: [16, 'u8'],
  nameBytes: [17, 'u8'],
  reserved: [18, 'u16'],
})
const namesMax = 4096
const highStep = 2 ** 32

export interface BucketPlace {
  readonly nodeId: number
  /** The nibbles of the hash that lead here, one hexadecimal digit each. */
  readonly path: string
}

/** Bytes a name takes in its bucket. */
function nameBytes(name: string): number {
  return NameLayout.sizeBytes + name.length
}

export function encodeSplit({ nodeId, path }: BucketPlace, children: number): Buffer | null {
  if (children === 0) return null
  const bytes = Buffer.allocUnsafeSlow(NodeHeader.sizeBytes)
  NodeHeader.encode({ ...headerOf(nodeId, path), kind: Kind.split, children, count: 0 }, bytes)
  return bytes
}

export function encodeNames({ nodeId, path }: BucketPlace, names: readonly DirectoryName[]): Buffer | null {
  if (names.length === 0) return null
  const namesBytes = names.reduce((sum, { name }) => sum + nameBytes(name), 0)
  const bytes = Buffer.allocUnsafeSlow(NodeHeader.sizeBytes + namesBytes)
  NodeHeader.encode({ ...headerOf(nodeId, path), kind: Kind.names, children: 0, count: names.length }, bytes)
  let at = NodeHeader.sizeBytes
  for (const name of names) at = encodeName(name, bytes, at)
  return bytes
}

/** An absent record is an empty list.
 *  @throws FormatError for anything that the two above could not have made */
export function decodeBucket(
  place: BucketPlace,
  bytes: Buffer | null,
): { children: number } | { names: DirectoryName[] } {
  if (bytes === null) return { names: [] }
  const children = checkBucket(place, bytes)
  if (children !== null) return { children }
  const names: DirectoryName[] = []
  for (let at = NodeHeader.sizeBytes; at < bytes.length; at = afterName(bytes, at)) names.push(decodeName(bytes, at))
  return { names }
}

/** Looks at a whole record and makes nothing of it.
 *  @returns the children of a split; null: these are names
 *  @throws FormatError for anything that is no bucket of this place */
export function checkBucket({ nodeId, path }: BucketPlace, bytes: Buffer): number | null {
  const header = NodeHeader.decode(bytes)
  if (!header.magic.equals(nodeMagic) || header.version !== nodeVersion)
    throw new FormatError('directory', 'not version 1')
  if (header.nodeId !== nodeId || header.depth !== path.length) throw new FormatError('directory', 'of another place')
  if (header.kind === Kind.split) return header.children
  if (header.count > namesMax) throw new FormatError('directory', `${header.count} names`)
  let at = NodeHeader.sizeBytes
  for (let index = 0; index < header.count; index++) {
    if (at + NameLayout.sizeBytes > bytes.length) throw new FormatError('directory', 'cut off')
    at = afterName(bytes, at)
  }
  if (at !== bytes.length) throw new FormatError('directory', 'cut off, or bytes left over')
  return null
}

/** False: somebody else wrote these names. */
export function areInOrder(bytes: Buffer): boolean {
  let last = -1
  for (let at = NodeHeader.sizeBytes; at < bytes.length; at = afterName(bytes, at)) {
    const cookie = cookieAt(bytes, at)
    if (cookie <= last) return false
    last = cookie
  }
  return true
}

/** Bytes that the names in a record of names take. */
export function namesBytesOf(bytes: Buffer): number {
  return bytes.length - NodeHeader.sizeBytes
}

/** The name of this hash, found by its cookie: no other one is decoded. */
export function findName(bytes: Buffer, name: string, hash: number): DirectoryName | null {
  const at = placeOf(bytes, name, hash * collisionsMax, (hash + 1) * collisionsMax)
  return at === null ? null : decodeName(bytes, at)
}

/** A cookie of this hash that no name here has; null when all are taken. */
export function freeCookie(bytes: Buffer, hash: number): number | null {
  const first = hash * collisionsMax
  let free = first
  for (let at = firstFrom(bytes, first); at < bytes.length && cookieAt(bytes, at) === free; at = afterName(bytes, at))
    free++
  return free < first + collisionsMax ? free : null
}

/** The record with one name more, whose cookie no other has. */
export function insertName(bytes: Buffer, name: DirectoryName): Buffer {
  const at = firstFrom(bytes, name.cookie)
  const longer = Buffer.allocUnsafeSlow(bytes.length + nameBytes(name.name))
  bytes.copy(longer, 0, 0, at)
  bytes.copy(longer, encodeName(name, longer, at), at)
  addToCount(longer, 1)
  return longer
}

/** The record without a name that is in it; null: it was the last. */
export function removeName(bytes: Buffer, { name, cookie }: DirectoryName): Buffer | null {
  const at = placeOf(bytes, name, cookie, cookie + 1)
  assert(at !== null)
  const after = afterName(bytes, at)
  if (bytes.length - (after - at) === NodeHeader.sizeBytes) return null
  const shorter = Buffer.allocUnsafeSlow(bytes.length - (after - at))
  bytes.copy(shorter, 0, 0, at)
  bytes.copy(shorter, at, after)
  addToCount(shorter, -1)
  return shorter
}

/** Where the name with a cookie from `first` up to `end` begins. */
function placeOf(bytes: Buffer, name: string, first: number, end: number): number | null {
  for (let at = firstFrom(bytes, first); at < bytes.length && cookieAt(bytes, at) < end; at = afterName(bytes, at)) {
    if (nameAt(bytes, at) === name) return at
  }
  return null
}

/** Where the first name with at least this cookie begins. */
function firstFrom(bytes: Buffer, cookie: number): number {
  let at: number = NodeHeader.sizeBytes
  while (at < bytes.length && cookieAt(bytes, at) < cookie) at = afterName(bytes, at)
  return at
}

function cookieAt(bytes: Buffer, at: number): number {
  const low = at + NameLayout.offsets.cookie
  return bytes.readUInt32LE(low + 4) * highStep + bytes.readUInt32LE(low)
}

function afterName(bytes: Buffer, at: number): number {
  return at + NameLayout.sizeBytes + bytes[at + NameLayout.offsets.nameBytes]!
}

function encodeName({ name, nodeId, type, cookie }: DirectoryName, bytes: Buffer, at: number): number {
  NameLayout.encode({ nodeId, cookie, type, nameBytes: name.length, reserved: 0 }, bytes, at)
  bytes.write(name, at + NameLayout.sizeBytes, 'latin1')
  return at + nameBytes(name)
}

function decodeName(bytes: Buffer, at: number): DirectoryName {
  const { nodeId, cookie, type } = NameLayout.decode(bytes, at)
  return { name: nameAt(bytes, at), nodeId, type, cookie }
}

function nameAt(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at + NameLayout.sizeBytes, afterName(bytes, at))
}

function addToCount(bytes: Buffer, names: number): void {
  const at = NodeHeader.offsets.count
  bytes.writeUInt32LE(bytes.readUInt32LE(at) + names, at)
}

function headerOf(nodeId: number, path: string) {
  return { magic: nodeMagic, version: nodeVersion, depth: path.length, nodeId, reserved: 0 }
}
