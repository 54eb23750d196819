import { layout } from '@qsfs/bytes/layout'
import { decodeExtent, ExtentLayout, encodeExtent } from '../block/extent-format.ts'
import type { Extent } from '../block/extents.ts'
import { FormatError } from '../errors.ts'
import { attributesBytes, decodeAttributes, encodeAttributes } from './attribute-format.ts'
import { type ChunkSpan, Inode } from './inode.ts'

/** Inodes to a record: numbers are handed out in order, so files made together are kept together. */
export const inodesPerRecord = 16
export const inlineExtentsMax = 4
export const chunkSpansMax = 8
export const inlineAttributesBytesMax = 512

/** docs/formats/inode.md */
const GroupHeader = layout('inodes', 16, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  count: [6, 'u16'],
  firstNodeId: [8, 'u53'],
})
const groupMagic = Buffer.from('QINO')
const groupVersion = 1

export const InodeLayout = layout('inode', 136, {
  slot: [0, 'u8'],
  flags: [1, 'u8'],
  extentCount: [2, 'u8'],
  spanCount: [3, 'u8'],
  attributesBytes: [4, 'u16'],
  reserved: [6, 'u16'],
  mode: [8, 'u32'],
  uid: [12, 'u32'],
  gid: [16, 'u32'],
  linkCount: [20, 'u32'],
  generation: [24, 'u32'],
  rdev: [28, 'u32'],
  sizeBytes: [32, 'u53'],
  allocatedBytes: [40, 'u53'],
  parent: [48, 'u53'],
  nameCount: [56, 'u53'],
  hashSeed: [64, 'u32'],
  reserved2: [68, 'u32'],
  atimeSeconds: [72, 'i53'],
  mtimeSeconds: [80, 'i53'],
  ctimeSeconds: [88, 'i53'],
  birthSeconds: [96, 'i53'],
  atimeNanos: [104, 'u32'],
  mtimeNanos: [108, 'u32'],
  ctimeNanos: [112, 'u32'],
  birthNanos: [116, 'u32'],
  reserved3: [120, 'bytes', 16],
})
const SpanLayout = layout('chunk span', 8, { first: [0, 'u32'], last: [4, 'u32'] })
const InodeFlag = { extentsInRecord: 1, attributesInRecord: 2 } as const
const zeros = Buffer.alloc(16)

/** The record of the 16 inodes from `firstNodeId` on, each as an inode or as the bytes it has in an older record; null when none is there. */
export function encodeInodes(firstNodeId: number, inodes: readonly (Inode | Buffer | null)[]): Buffer | null {
  let sizeBytes = GroupHeader.sizeBytes
  let count = 0
  for (const inode of inodes) {
    if (inode === null) continue
    sizeBytes += inode instanceof Inode ? inodeBytes(inode) : inode.length
    count++
  }
  if (count === 0) return null
  const bytes = Buffer.allocUnsafeSlow(sizeBytes)
  GroupHeader.encode({ magic: groupMagic, version: groupVersion, count, firstNodeId }, bytes)
  let at = GroupHeader.sizeBytes
  for (const inode of inodes) {
    if (inode instanceof Inode) at = encodeInode(inode, inode.nodeId - firstNodeId, bytes, at)
    else if (inode !== null) at += inode.copy(bytes, at)
  }
  return bytes
}

/** @throws FormatError for anything that encodeInodes could not have made */
export function decodeInodes(firstNodeId: number, bytes: Buffer | null): (Inode | null)[] {
  const inodes: (Inode | null)[] = new Array(inodesPerRecord).fill(null)
  if (bytes === null) return inodes
  checkInodes(firstNodeId, bytes)
  for (let at: number = GroupHeader.sizeBytes; at < bytes.length; at = afterInode(bytes, at)) {
    inodes[bytes[at]!] = decodeInode(firstNodeId, bytes, at)
  }
  return inodes
}

/** Looks at the outlines of a whole record and makes nothing of it.
 *  @throws FormatError when these are not the inodes from `firstNodeId` on */
export function checkInodes(firstNodeId: number, bytes: Buffer): void {
  const header = GroupHeader.decode(bytes)
  if (!header.magic.equals(groupMagic) || header.version !== groupVersion)
    throw new FormatError('inodes', 'not version 1')
  if (header.firstNodeId !== firstNodeId || header.count > inodesPerRecord)
    throw new FormatError('inodes', 'of another place')
  let at: number = GroupHeader.sizeBytes
  let seen = 0
  for (let index = 0; index < header.count; index++) {
    if (at + InodeLayout.sizeBytes > bytes.length) throw new FormatError('inodes', 'cut off')
    const slot = bytes[at]!
    if (slot >= inodesPerRecord || (seen & (1 << slot)) !== 0) throw new FormatError('inodes', `slot ${slot}`)
    seen |= 1 << slot
    if (bytes[at + offsets.extentCount]! > inlineExtentsMax || bytes[at + offsets.spanCount]! > chunkSpansMax)
      throw new FormatError('inodes', 'counts')
    at = afterInode(bytes, at)
  }
  if (at !== bytes.length) throw new FormatError('inodes', 'cut off, or bytes left over')
}

/** The bytes of one inode in a record that was checked, where they lie; null: it is not there. */
export function inodeIn(bytes: Buffer, slot: number): Buffer | null {
  const at = placeOf(bytes, slot)
  return at === null ? null : bytes.subarray(at, afterInode(bytes, at))
}

/** One inode of a record that was checked; null: it is not there.
 *  @throws FormatError, RangeError for anything that encodeInodes could not have made */
export function decodeInodeIn(firstNodeId: number, bytes: Buffer, slot: number): Inode | null {
  const at = placeOf(bytes, slot)
  return at === null ? null : decodeInode(firstNodeId, bytes, at)
}

const { offsets } = InodeLayout

function placeOf(bytes: Buffer, slot: number): number | null {
  for (let at: number = GroupHeader.sizeBytes; at < bytes.length; at = afterInode(bytes, at)) {
    if (bytes[at] === slot) return at
  }
  return null
}

function afterInode(bytes: Buffer, at: number): number {
  const extentsBytes = bytes[at + offsets.extentCount]! * ExtentLayout.sizeBytes
  const spansBytes = bytes[at + offsets.spanCount]! * SpanLayout.sizeBytes
  return at + InodeLayout.sizeBytes + extentsBytes + spansBytes + bytes.readUInt16LE(at + offsets.attributesBytes)
}

function inodeBytes(inode: Inode): number {
  const extents = (inode.inlineExtents?.length ?? 0) * ExtentLayout.sizeBytes
  return InodeLayout.sizeBytes + extents + inode.chunkSpans.length * SpanLayout.sizeBytes + attributesBytesOf(inode)
}

function attributesBytesOf(inode: Inode): number {
  return inode.inlineAttributes === null ? 0 : attributesBytes(inode.inlineAttributes)
}

function encodeInode(inode: Inode, slot: number, bytes: Buffer, start: number): number {
  const flags =
    (inode.inlineExtents === null ? InodeFlag.extentsInRecord : 0) |
    (inode.inlineAttributes === null ? InodeFlag.attributesInRecord : 0)
  const { mode, uid, gid, linkCount, generation, rdev, allocatedBytes, parent, nameCount, hashSeed } = inode
  const { atime, mtime, ctime, birthTime } = inode
  const fields = {
    slot,
    flags,
    mode,
    uid,
    gid,
    linkCount,
    generation,
    rdev,
    allocatedBytes,
    parent,
    nameCount,
    hashSeed,
  }
  InodeLayout.encode(
    {
      ...fields,
      extentCount: inode.inlineExtents?.length ?? 0,
      spanCount: inode.chunkSpans.length,
      attributesBytes: attributesBytesOf(inode),
      sizeBytes: inode.storedSizeBytes,
      atimeSeconds: atime.seconds,
      mtimeSeconds: mtime.seconds,
      ctimeSeconds: ctime.seconds,
      birthSeconds: birthTime.seconds,
      atimeNanos: atime.nanos,
      mtimeNanos: mtime.nanos,
      ctimeNanos: ctime.nanos,
      birthNanos: birthTime.nanos,
      reserved: 0,
      reserved2: 0,
      reserved3: zeros,
    },
    bytes,
    start,
  )
  let at = start + InodeLayout.sizeBytes
  for (const extent of inode.inlineExtents ?? []) {
    encodeExtent(extent, bytes, at)
    at += ExtentLayout.sizeBytes
  }
  for (const span of inode.chunkSpans) {
    SpanLayout.encode(span, bytes, at)
    at += SpanLayout.sizeBytes
  }
  return inode.inlineAttributes === null ? at : encodeAttributes(inode.inlineAttributes, bytes, at)
}

function decodeInode(firstNodeId: number, bytes: Buffer, start: number): Inode {
  const stored = InodeLayout.decode(bytes, start)
  const inode = new Inode(firstNodeId + stored.slot, stored.mode, {
    seconds: stored.atimeSeconds,
    nanos: stored.atimeNanos,
  })
  inode.mtime = { seconds: stored.mtimeSeconds, nanos: stored.mtimeNanos }
  inode.ctime = { seconds: stored.ctimeSeconds, nanos: stored.ctimeNanos }
  inode.birthTime = { seconds: stored.birthSeconds, nanos: stored.birthNanos }
  inode.uid = stored.uid
  inode.gid = stored.gid
  inode.linkCount = stored.linkCount
  inode.rdev = stored.rdev
  inode.sizeBytes = stored.sizeBytes
  inode.storedSizeBytes = stored.sizeBytes
  inode.allocatedBytes = stored.allocatedBytes
  inode.countedBytes = stored.allocatedBytes
  inode.parent = stored.parent
  inode.nameCount = stored.nameCount
  inode.hashSeed = stored.hashSeed
  let at = start + InodeLayout.sizeBytes
  const extents: Extent[] = []
  for (let index = 0; index < stored.extentCount; index++, at += ExtentLayout.sizeBytes)
    extents.push(decodeExtent(bytes, at))
  const spans: ChunkSpan[] = []
  for (let index = 0; index < stored.spanCount; index++, at += SpanLayout.sizeBytes)
    spans.push(SpanLayout.decode(bytes, at))
  inode.inlineExtents = (stored.flags & InodeFlag.extentsInRecord) === 0 ? extents : null
  inode.chunkSpans = spans
  const attributes = decodeAttributes(bytes.subarray(at, at + stored.attributesBytes))
  inode.inlineAttributes = (stored.flags & InodeFlag.attributesInRecord) === 0 ? attributes : null
  return inode
}
