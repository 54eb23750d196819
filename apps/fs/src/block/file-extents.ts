import type { BlockId } from '../store/store.ts'
import type { ChunkSpan, Inode } from '../tree/inode.ts'
import { chunkSpansMax, inlineExtentsMax } from '../tree/inode-format.ts'
import type { CachedRecord, RecordCache } from '../tree/record-cache.ts'
import { chunkBytes, decodeChunk, encodeChunk } from './extent-format.ts'
import {
  type Extent,
  type ExtentChange,
  type ExtentList,
  firstAfter,
  isNamedInWindow,
  lengthOf,
  replace,
  windowBytes,
} from './extents.ts'
import { SharedCounts, sharedRecordOf } from './sharing/shared-counts.ts'

/** An object of seven numbers, and its place in a list. */
const extentMemoryBytes = 100

class ChunkRecord implements CachedRecord {
  readonly key: string
  readonly isPinned = false
  readonly ino: number
  readonly chunkIndex: number
  extents: ExtentList

  constructor(ino: number, chunkIndex: number, bytes: Buffer | null) {
    this.key = chunkKey(ino, chunkIndex)
    this.ino = ino
    this.chunkIndex = chunkIndex
    this.extents = decodeChunk({ ino, chunkIndex }, bytes)
  }
  get memoryBytes(): number {
    return this.extents.length * extentMemoryBytes
  }
  encode(): Buffer | null {
    return encodeChunk(this, this.extents)
  }
}

/** The extents of all files: a few in the inode, the rest in a record for each 16 MiB of file. Looks may throw NotLoaded. */
export class FileExtents {
  readonly #cache: RecordCache
  readonly #shared: SharedCounts

  constructor(cache: RecordCache) {
    this.#cache = cache
    this.#shared = new SharedCounts(cache)
  }

  /** The extents of the chunk that holds `offset`. */
  at(inode: Inode, offset: number): ExtentList {
    const chunkIndex = Math.floor(offset / chunkBytes)
    if (chunkIndex === 0 && inode.inlineExtents !== null) return inode.inlineExtents
    return isInSpans(inode.chunkSpans, chunkIndex) ? this.#chunk(inode, chunkIndex).extents : none
  }

  /** Looks at all that `replace` of [start, end), within one chunk, will change.
   *  @returns how far of it one operation may go: to the end, but where values are shared whose counts are far apart; and whether any is */
  lookReplace(inode: Inode, start: number, end: number): { reach: number; isShared: boolean } {
    const extents = this.at(inode, start)
    const ids: BlockId[] = []
    const records = new Set<number>()
    let reach = end
    for (let index = firstAfter(extents, start); index < extents.length && extents[index]!.offset < reach; index++) {
      const { id, offset, shared } = extents[index]!
      if (!shared) continue
      const windowOffset = offset - (offset % windowBytes)
      records.add(sharedRecordOf(id))
      if (records.size > sharedRecordsMax && windowOffset > start) reach = windowOffset
      else ids.push(id)
    }
    if (ids.length > 0) this.#shared.look(ids)
    return { reach, isShared: ids.length > 0 }
  }

  /** [start, end), within one chunk, now holds `insert`. The caller touches the inode, and looked (`lookReplace`, and `lookShare` at
   *  what is inserted) before. */
  replace(inode: Inode, start: number, end: number, insert: readonly Extent[] = []): ExtentChange {
    const chunkIndex = Math.floor(start / chunkBytes)
    const before = this.at(inode, start)
    const changed = replace(before, start, end, insert)
    if (changed.grownBytes !== 0 || insert.length > 0) this.#set(inode, chunkIndex, changed.extents)
    const gained = new Set(
      insert.filter(extent => extent.shared && !isNamedInWindow(before, extent)).map(({ id }) => id),
    )
    this.#shared.add([...gained])
    if (changed.unshared.length === 0) return changed
    return { ...changed, freed: [...changed.freed, ...this.#shared.drop(changed.unshared)] }
  }

  /** Looks at all that `share` will change. */
  lookShare(extents: readonly Extent[]): void {
    this.#shared.look(extents.map(({ id }) => id))
  }

  /** From now on other windows may name the values of these extents of the inode. The caller touches it. */
  share(inode: Inode, extents: readonly Extent[]): void {
    for (const { id, offset, shared } of extents) {
      if (shared || this.#isShared(inode, offset)) continue
      this.#shared.begin(id)
      const flagged = this.at(inode, offset).map(extent => (extent.id === id ? { ...extent, shared: true } : extent))
      this.#set(inode, Math.floor(offset / chunkBytes), flagged)
    }
  }

  #isShared(inode: Inode, offset: number): boolean {
    const extents = this.at(inode, offset)
    return extents[firstAfter(extents, offset)]!.shared
  }

  /** Highest chunk that may hold extents; -1: none does. */
  lastChunk(inode: Inode): number {
    return inode.chunkSpans.at(-1)?.last ?? ((inode.inlineExtents?.length ?? 0) > 0 ? 0 : -1)
  }

  /** Chunks from `chunkIndex` on that may hold extents. */
  *chunksFrom(inode: Inode, chunkIndex: number): Generator<number, void> {
    if (chunkIndex === 0 && (inode.inlineExtents?.length ?? 0) > 0) yield 0
    for (const { first, last } of inode.chunkSpans) {
      const isInline = inode.inlineExtents !== null
      for (let index = Math.max(first, chunkIndex); index <= last; index++) if (index > 0 || !isInline) yield index
    }
  }

  /** Starts to load the chunks that hold these offsets; null when they are in memory. */
  prefetch(inode: Inode, offsets: readonly number[]): Promise<void> | null {
    const chunks = new Set(offsets.map(offset => Math.floor(offset / chunkBytes)))
    const wanted = [...chunks].filter(index => isInSpans(inode.chunkSpans, index))
    return this.#cache.prefetch(
      wanted.map(index => [chunkKey(inode.nodeId, index), decodeAt(inode.nodeId, index)] as const),
    )
  }

  #set(inode: Inode, chunkIndex: number, extents: ExtentList): void {
    const before = this.at(inode, chunkIndex * chunkBytes)
    inode.allocatedBytes += lengthOf(extents) - lengthOf(before)
    if (chunkIndex === 0 && inode.inlineExtents !== null) {
      if (extents.length <= inlineExtentsMax) {
        inode.inlineExtents = extents
        return
      }
      inode.inlineExtents = null
    }
    if (isInSpans(inode.chunkSpans, chunkIndex)) {
      const record = this.#chunk(inode, chunkIndex)
      record.extents = extents
      this.#cache.touch(record)
    } else if (extents.length > 0) {
      const record = new ChunkRecord(inode.nodeId, chunkIndex, null)
      record.extents = extents
      this.#cache.touch(record)
      inode.chunkSpans = addToSpans(inode.chunkSpans, chunkIndex)
    }
  }

  /** Chunks from `chunkIndex` on are known to be empty. */
  dropSpansFrom(inode: Inode, chunkIndex: number): void {
    inode.chunkSpans = cutSpans(inode.chunkSpans, chunkIndex)
    if (chunkIndex === 0) inode.inlineExtents = none
  }

  #chunk(inode: Inode, chunkIndex: number): ChunkRecord {
    return this.#cache.get(chunkKey(inode.nodeId, chunkIndex), decodeAt(inode.nodeId, chunkIndex)) as ChunkRecord
  }
}

const none: ExtentList = []
/** Records of counts that one operation touches, of 4 KiB each; a single window may have a few more. */
const sharedRecordsMax = 8

function decodeAt(ino: number, chunkIndex: number): (bytes: Buffer | null) => ChunkRecord {
  return bytes => new ChunkRecord(ino, chunkIndex, bytes)
}

function chunkKey(ino: number, chunkIndex: number): string {
  return `e${ino}.${chunkIndex}`
}

export function isInSpans(spans: readonly ChunkSpan[], index: number): boolean {
  return spans.some(({ first, last }) => first <= index && index <= last)
}

/** Joins neighbours; when there would be too many spans, the two with the smallest gap become one: the list may then say
 *  "maybe" for chunks that have no record, which costs a look and nothing else. */
export function addToSpans(spans: readonly ChunkSpan[], index: number): readonly ChunkSpan[] {
  const sorted = [...spans, { first: index, last: index }].sort((a, b) => a.first - b.first)
  const joined: ChunkSpan[] = []
  for (const span of sorted) {
    const before = joined.at(-1)
    if (before !== undefined && span.first <= before.last + 1) {
      joined[joined.length - 1] = { first: before.first, last: Math.max(before.last, span.last) }
    } else joined.push(span)
  }
  if (joined.length <= chunkSpansMax) return joined
  let closest = 1
  for (let at = 2; at < joined.length; at++) {
    const gap = (right: number) => joined[right]!.first - joined[right - 1]!.last
    if (gap(at) < gap(closest)) closest = at
  }
  const pair = { first: joined[closest - 1]!.first, last: joined[closest]!.last }
  return joined.toSpliced(closest - 1, 2, pair)
}

/** Without the chunks from `index` on. */
export function cutSpans(spans: readonly ChunkSpan[], index: number): readonly ChunkSpan[] {
  return spans
    .filter(({ first }) => first < index)
    .map(({ first, last }) => ({ first, last: Math.min(last, index - 1) }))
}
