import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../errors.ts'
import type { Extent, ExtentList } from './extents.ts'
import { windowBytes } from './extents.ts'

/** A file's extents are kept by chunks of 16 MiB, so that a change rewrites a few KiB however long the file is. */
export const chunkBytes = 16 * 1024 * 1024

/** docs/formats/extents.md: one extent, in an extent record and inline in an inode. */
export const ExtentLayout = layout('extent', 40, {
  offset: [0, 'u53'],
  id: [8, 'u53'],
  length: [16, 'u32'],
  valueOffset: [20, 'u32'],
  valueBytes: [24, 'u32'],
  crc: [28, 'u32'],
  flags: [32, 'u32'],
  reserved: [36, 'u32'],
})
export const ExtentFlag = { shared: 1 } as const

const ChunkHeader = layout('extents', 32, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  reserved: [6, 'u16'],
  ino: [8, 'u53'],
  chunkIndex: [16, 'u53'],
  count: [24, 'u32'],
  reserved2: [28, 'u32'],
})
const chunkMagic = Buffer.from('QEXT')
const chunkVersion = 1
/** Of a window each: 8 pieces. Between two looks a flush may leave a few more. */
const chunkExtentsMax = 1600

export interface ChunkPlace {
  readonly ino: number
  readonly chunkIndex: number
}

export function encodeExtent(extent: Extent, target: Buffer, at: number): void {
  ExtentLayout.encode({ ...extent, flags: extent.shared ? ExtentFlag.shared : 0, reserved: 0 }, target, at)
}

/** @throws FormatError when it names bytes outside of its window or value */
export function decodeExtent(bytes: Buffer, at: number): Extent {
  const { offset, id, length, valueOffset, valueBytes, crc, flags } = ExtentLayout.decode(bytes, at)
  const fits =
    length > 0 &&
    (offset % windowBytes) + length <= windowBytes &&
    valueOffset + length <= valueBytes &&
    valueBytes <= windowBytes
  if (!fits) throw new FormatError('extent', `${length} bytes at ${offset} of a value of ${valueBytes}`)
  return { offset, length, id, valueOffset, valueBytes, crc, shared: (flags & ExtentFlag.shared) !== 0 }
}

/** The record of one chunk; null when it has no extents. */
export function encodeChunk({ ino, chunkIndex }: ChunkPlace, extents: ExtentList): Buffer | null {
  if (extents.length === 0) return null
  const bytes = Buffer.allocUnsafeSlow(ChunkHeader.sizeBytes + extents.length * ExtentLayout.sizeBytes)
  const count = extents.length
  ChunkHeader.encode(
    { magic: chunkMagic, version: chunkVersion, reserved: 0, ino, chunkIndex, count, reserved2: 0 },
    bytes,
  )
  extents.forEach((extent, index) => {
    encodeExtent(extent, bytes, ChunkHeader.sizeBytes + index * ExtentLayout.sizeBytes)
  })
  return bytes
}

/** @throws FormatError for anything that this place's encodeChunk could not have made */
export function decodeChunk(place: ChunkPlace, bytes: Buffer | null): ExtentList {
  if (bytes === null) return []
  const header = ChunkHeader.decode(bytes)
  if (!header.magic.equals(chunkMagic) || header.version !== chunkVersion)
    throw new FormatError('extents', 'not version 1')
  if (header.ino !== place.ino || header.chunkIndex !== place.chunkIndex)
    throw new FormatError('extents', 'of another place')
  const expectedBytes = ChunkHeader.sizeBytes + header.count * ExtentLayout.sizeBytes
  if (header.count > chunkExtentsMax || bytes.length !== expectedBytes)
    throw new FormatError('extents', `${bytes.length} bytes`)
  const extents: Extent[] = []
  let end = place.chunkIndex * chunkBytes
  for (let index = 0; index < header.count; index++) {
    const extent = decodeExtent(bytes, ChunkHeader.sizeBytes + index * ExtentLayout.sizeBytes)
    if (extent.offset < end) throw new FormatError('extents', 'not in order')
    end = extent.offset + extent.length
    extents.push(extent)
  }
  if (end > (place.chunkIndex + 1) * chunkBytes) throw new FormatError('extents', 'beyond the chunk')
  return extents
}
