import type { Inode } from '../tree/inode.ts'
import type { Range } from './dirty-window.ts'
import { chunkBytes } from './extent-format.ts'
import { firstAfter } from './extents.ts'
import type { FileExtents } from './file-extents.ts'

/** Where a file has bytes of its own, stored or buffered, from `offset` on: in order, none touching the next, all below the file's
 *  size. What lies between is a hole. May throw NotLoaded. */
export function* dataRanges(extents: FileExtents, inode: Inode, offset: number): Generator<Range> {
  const { sizeBytes } = inode
  let joined: Range | null = null
  for (const range of merge(stored(extents, inode, offset), buffered(inode, offset))) {
    const start = Math.max(offset, range.start)
    const end = Math.min(sizeBytes, range.end)
    if (start >= end) continue
    if (joined !== null && start <= joined.end) {
      joined = { start: joined.start, end: Math.max(joined.end, end) }
      continue
    }
    if (joined !== null) yield joined
    joined = { start, end }
  }
  if (joined !== null) yield joined
}

function* stored(extents: FileExtents, inode: Inode, offset: number): Generator<Range> {
  for (const chunkIndex of extents.chunksFrom(inode, Math.floor(offset / chunkBytes))) {
    const list = extents.at(inode, chunkIndex * chunkBytes)
    for (let index = firstAfter(list, offset); index < list.length; index++) {
      const extent = list[index]!
      yield { start: extent.offset, end: extent.offset + extent.length }
    }
  }
}

function buffered(inode: Inode, offset: number): Iterator<Range> {
  const ranges: Range[] = []
  for (const windows of [inode.buffer?.flushing, inode.buffer?.windows]) {
    for (const window of windows?.values() ?? []) {
      for (const { start, end } of window.ranges) {
        if (window.offset + end > offset) ranges.push({ start: window.offset + start, end: window.offset + end })
      }
    }
  }
  return ranges.sort((a, b) => a.start - b.start).values()
}

/** Both, by their starts. */
function* merge(first: Iterator<Range>, second: Iterator<Range>): Generator<Range> {
  let a = first.next()
  let b = second.next()
  while (!a.done || !b.done) {
    if (b.done || (!a.done && a.value.start <= b.value.start)) {
      yield a.value
      a = first.next()
    } else {
      yield b.value
      b = second.next()
    }
  }
}
