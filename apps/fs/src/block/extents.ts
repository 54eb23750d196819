import type { BlockId } from '../store/store.ts'

/** Values never cross a window: all pieces of a value stay within one, so a look at the neighbours decides when its id is free. */
export const windowBytes = 128 * 1024
/** A window with more pieces than this is written whole: reads stay cheap, and a record of extents stays bounded. */
export const windowExtentsMax = 8

/** `length` bytes of the file from `offset` on are the bytes of value `id` from `valueOffset` on. */
export interface Extent {
  readonly offset: number
  readonly length: number
  readonly id: BlockId
  readonly valueOffset: number
  /** Length of the whole value, of which `crc` is the CRC-32C. */
  readonly valueBytes: number
  readonly crc: number
  /** Other extents, of other files, may name the same value: its id is counted, not freed by looking at neighbours. */
  readonly shared: boolean
}

/** Extents sorted by offset, none overlapping. Never changed in place. */
export type ExtentList = readonly Extent[]

export interface ExtentChange {
  readonly extents: ExtentList
  /** Values that no extent of the list names any more. */
  readonly freed: readonly BlockId[]
  /** Shared values of which a window lost its last piece, once for each such window: their count goes down by one. */
  readonly unshared: readonly BlockId[]
  /** By how much the bytes held by the list grew. */
  readonly grownBytes: number
}

/** Index of the first extent that ends after `offset`. */
export function firstAfter(extents: ExtentList, offset: number): number {
  let low = 0
  let high = extents.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const extent = extents[middle]!
    if (extent.offset + extent.length > offset) high = middle
    else low = middle + 1
  }
  return low
}

/** The part of `extent` within [start, end). */
export function clip(extent: Extent, start: number, end: number): Extent {
  const from = Math.max(extent.offset, start)
  const to = Math.min(extent.offset + extent.length, end)
  return { ...extent, offset: from, length: to - from, valueOffset: extent.valueOffset + (from - extent.offset) }
}

/** [start, end) becomes a hole, then `insert` (sorted, all within [start, end)) is put there. */
export function replace(extents: ExtentList, start: number, end: number, insert: ExtentList = []): ExtentChange {
  const from = firstAfter(extents, start)
  let to = from
  while (to < extents.length && extents[to]!.offset < end) to++
  const removed = extents.slice(from, to)
  const kept: Extent[] = []
  const first = removed[0]
  if (first !== undefined && first.offset < start) kept.push(clip(first, first.offset, start))
  kept.push(...insert)
  const last = removed.at(-1)
  if (last !== undefined && last.offset + last.length > end) kept.push(clip(last, end, last.offset + last.length))
  const changed = from === 0 && to === extents.length ? kept : extents.toSpliced(from, to - from, ...kept)
  const gone = idsGone(removed, changed)
  return {
    extents: changed,
    freed: gone.filter(extent => !extent.shared).map(extent => extent.id),
    unshared: gone.filter(extent => extent.shared).map(extent => extent.id),
    grownBytes: lengthOf(kept) - lengthOf(removed),
  }
}

/** How many extents lie in the window that starts at `windowOffset`. */
export function countInWindow(extents: ExtentList, windowOffset: number): number {
  let index = firstAfter(extents, windowOffset)
  const first = index
  while (index < extents.length && extents[index]!.offset < windowOffset + windowBytes) index++
  return index - first
}

/** Sum of the lengths. */
export function lengthOf(extents: ExtentList): number {
  let bytes = 0
  for (const extent of extents) bytes += extent.length
  return bytes
}

/** One extent per window and id of `removed` that no neighbour in `changed` names: a shared value may be in several windows. */
function idsGone(removed: ExtentList, changed: ExtentList): Extent[] {
  const gone: Extent[] = []
  for (const extent of removed) {
    if (isNamedInWindow(gone, extent)) continue
    if (!isNamedInWindow(changed, extent)) gone.push(extent)
  }
  return gone
}

/** An extent of the same window names the same value. */
export function isNamedInWindow(extents: ExtentList, { id, offset }: Extent): boolean {
  const windowOffset = offset - (offset % windowBytes)
  for (let index = firstAfter(extents, windowOffset); index < extents.length; index++) {
    const extent = extents[index]!
    if (extent.offset >= windowOffset + windowBytes) return false
    if (extent.id === id) return true
  }
  return false
}
