import { crc32c } from '@qsfs/bytes/checksum'
import type { BlockId } from '../store/store.ts'
import { attempt, change } from '../tree/attempt.ts'
import type { Inode } from '../tree/inode.ts'
import type { InodeTable } from '../tree/inode-table.ts'
import type { MetadataLog } from '../tree/metadata-log.ts'
import type { BlockCache } from './block-cache.ts'
import type { DirtyWindow, Range } from './dirty-window.ts'
import { countInWindow, type Extent, windowBytes, windowExtentsMax } from './extents.ts'
import { FileFailure } from './file-buffer.ts'
import type { FileExtents } from './file-extents.ts'
import { type Reader, ReadSet } from './reader.ts'

/** A value is kept in memory after its flush if it is at most this long: it may soon be a part of a window written whole. */
const keptBytesMax = 64 * 1024

interface StoredRange extends Range {
  readonly id: BlockId
  readonly crc: number
}

/** Turns a dirty window into values and extents. */
export class Flusher {
  readonly #log: MetadataLog
  readonly #inodes: InodeTable
  readonly #extents: FileExtents
  readonly #reader: Reader
  readonly #cache: BlockCache

  constructor(log: MetadataLog, inodes: InodeTable, extents: FileExtents, reader: Reader, cache: BlockCache) {
    this.#log = log
    this.#inodes = inodes
    this.#extents = extents
    this.#reader = reader
    this.#cache = cache
  }

  /** Puts the window's ranges, then names them in the running transaction in one stretch. */
  async store(inode: Inode, window: DirtyWindow): Promise<void> {
    try {
      await this.#merge(inode, window)
    } catch (error) {
      // Its own stored bytes cannot be read.
      throw new FileFailure(error)
    }
    const puts = window.ranges.map(range => this.#put(window, range))
    const settled = await Promise.allSettled(puts)
    const stored = settled.filter(put => put.status === 'fulfilled').map(put => put.value)
    const failed = settled.find(put => put.status === 'rejected')
    if (failed !== undefined) {
      this.#log.freeBlocks(stored.map(({ id }) => id))
      throw failed.reason
    }
    try {
      await change(this.#log, () => this.#name(inode, window, stored))
    } catch (error) {
      this.#log.freeBlocks(stored.map(({ id }) => id))
      throw error
    }
  }

  /** A window that would have too many pieces is filled up from what is stored, and becomes one. */
  async #merge(inode: Inode, window: DirtyWindow): Promise<void> {
    using held = new ReadSet(this.#cache)
    const merging = attempt(() => {
      // A range in the middle of an extent leaves a piece of it on either side.
      const pieces = countInWindow(this.#extents.at(inode, window.offset), window.offset) + 2 * window.ranges.length
      const first = window.ranges[0]
      if (pieces <= windowExtentsMax || first === undefined) return
      const whole = this.#stretch(inode, window)
      const parts = this.#reader.readStretch(inode, window.offset + whole.start, window.offset + whole.end, held)
      window.fillUp(whole, parts)
    })
    if (merging instanceof Promise) await merging
  }

  /** From the first to the last byte that the window has, stored or not. */
  #stretch(inode: Inode, window: DirtyWindow): Range {
    const extents = this.#extents
      .at(inode, window.offset)
      .filter(({ offset }) => offset >= window.offset && offset < window.offset + windowBytes)
    const starts = [window.ranges[0]!.start, ...extents.map(({ offset }) => offset - window.offset)]
    const ends = [window.ranges.at(-1)!.end, ...extents.map(({ offset, length }) => offset + length - window.offset)]
    return { start: Math.min(...starts), end: Math.max(...ends) }
  }

  async #put(window: DirtyWindow, { start, end }: Range): Promise<StoredRange> {
    const bytes = window.view(start, end)
    const crc = crc32c(bytes)
    const id = await this.#log.putBlock(bytes)
    if (bytes.length <= keptBytesMax) this.#cache.put(id, bytes)
    return { start, end, id, crc }
  }

  /** What was cut from the window since the put is not named. */
  #name(inode: Inode, window: DirtyWindow, stored: readonly StoredRange[]): void {
    const lives = this.#inodes.find(inode.nodeId) === inode
    this.#extents.lookReplace(inode, window.offset, window.offset + windowBytes)
    this.#log.addBlocks(stored.map(({ id }) => id))
    for (const range of stored) {
      const pieces = lives ? piecesOf(window, range) : []
      if (pieces.length === 0) this.#free([range.id])
      for (const piece of pieces) {
        const changed = this.#extents.replace(inode, piece.offset, piece.offset + piece.length, [piece])
        this.#free(changed.freed)
        const end = Math.min(inode.sizeBytes, piece.offset + piece.length)
        inode.storedSizeBytes = Math.max(inode.storedSizeBytes, end)
      }
    }
    if (!lives) return
    window.isNamed = true
    inode.bytesNamedInSeq = this.#log.runningSeq
    if (inode.buffer?.isNamed) inode.storedSizeBytes = inode.sizeBytes
    this.#inodes.touch(inode)
  }

  #free(ids: readonly BlockId[]): void {
    this.#log.freeBlocks(ids)
    this.#cache.drop(ids)
  }
}

/** The extents for one stored range: what is left of it in the window. */
function piecesOf(window: DirtyWindow, { start, end, id, crc }: StoredRange): Extent[] {
  const pieces: Extent[] = []
  for (const left of window.ranges) {
    const from = Math.max(start, left.start)
    const to = Math.min(end, left.end)
    if (from >= to) continue
    const length = to - from
    pieces.push({
      offset: window.offset + from,
      length,
      id,
      valueOffset: from - start,
      valueBytes: end - start,
      crc,
      shared: false,
    })
  }
  return pieces
}
