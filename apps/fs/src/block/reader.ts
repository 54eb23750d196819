import type { BlockId } from '../store/store.ts'
import type { Inode } from '../tree/inode.ts'
import { NotLoaded } from '../tree/record-cache.ts'
import type { BlockCache } from './block-cache.ts'
import { type Extent, firstAfter, windowBytes } from './extents.ts'
import type { FileExtents } from './file-extents.ts'

const zeros = Buffer.alloc(windowBytes)
const aheadBytesMin = 512 * 1024

export interface ReadAheadLimits {
  readonly aheadBytesMax: number
  /** How far the scout goes before a sequential reader: about a segment of the store. */
  readonly scoutBytes: number
}

/** Values one read had to wait for: it keeps them itself, so that a cache smaller than the read cannot stop it. */
export class ReadSet implements Disposable {
  readonly values = new Map<BlockId, Buffer>()
  readonly failures = new Map<BlockId, unknown>()
  readonly #cache: BlockCache
  #isOver = false

  constructor(cache: BlockCache) {
    this.#cache = cache
  }

  keep(id: BlockId, value: Buffer): void {
    if (this.#isOver || this.values.has(id)) return
    this.#cache.retain(value)
    this.values.set(id, value)
  }

  /** What was read stays as it is until the next turn of the event loop. */
  [Symbol.dispose](): void {
    this.#isOver = true
    for (const value of this.values.values()) this.#cache.release(value)
    this.values.clear()
  }
}

/** File bytes as they are now: buffered ones over stored ones over zeros. */
export class Reader {
  readonly #extents: FileExtents
  readonly #cache: BlockCache
  readonly #limits: ReadAheadLimits

  constructor(extents: FileExtents, cache: BlockCache, limits: ReadAheadLimits) {
    this.#extents = extents
    this.#cache = cache
    this.#limits = limits
  }

  /** The bytes of [offset, offset + length) up to the end of the file, as views.
   *  @throws NotLoaded; then again with the same `held` */
  read(inode: Inode, offset: number, length: number, held: ReadSet): Uint8Array[] {
    return this.readStretch(inode, offset, Math.min(offset + length, inode.sizeBytes), held)
  }

  /** The same whatever the file's size. */
  readStretch(inode: Inode, offset: number, end: number, held: ReadSet): Uint8Array[] {
    if (offset >= end) return []
    this.#load(this.#stored(inode, offset, end), held)
    const parts: Uint8Array[] = []
    for (let at = offset; at < end; ) {
      const windowEnd = Math.min(end, at - (at % windowBytes) + windowBytes)
      this.#readWindow(inode, at, windowEnd, held, parts)
      at = windowEnd
    }
    return parts
  }

  /** A reader that comes back where it stopped finds the next blocks on their way. One that keeps doing so sends a scout: a block so
   *  far ahead that its segment, if it has left the disk, is back when the reader gets there. */
  readAhead(inode: Inode, offset: number, length: number): void {
    const state = inode.readAhead
    const end = offset + length
    const isNext = state !== null && offset >= state.nextOffset - length && offset <= state.nextOffset + length
    if (!isNext) {
      inode.readAhead = { nextOffset: end, aheadBytes: 0, scoutedOffset: 0 }
      return
    }
    state.nextOffset = Math.max(state.nextOffset, end)
    state.aheadBytes = Math.min(this.#limits.aheadBytesMax, Math.max(aheadBytesMin, state.aheadBytes * 2))
    this.#loadAhead(inode, state.nextOffset, state.nextOffset + state.aheadBytes)
    const scoutOffset = state.nextOffset + this.#limits.scoutBytes
    if (state.aheadBytes < this.#limits.aheadBytesMax || scoutOffset < state.scoutedOffset + state.aheadBytes) return
    state.scoutedOffset = scoutOffset
    this.#loadAhead(inode, scoutOffset, scoutOffset + 1)
  }

  #loadAhead(inode: Inode, start: number, end: number): void {
    const until = Math.min(inode.sizeBytes, end)
    if (start >= until) return
    try {
      for (const extent of this.#stored(inode, start, until)) {
        if (!this.#cache.has(extent.id)) this.#cache.load(extent).catch(ignoredUntilRead)
      }
    } catch (error) {
      if (!(error instanceof NotLoaded)) throw error
      error.loading.catch(ignoredUntilRead)
    }
  }

  /** Extents that a read of [start, end) needs: those under bytes that are buffered are left out. */
  *#stored(inode: Inode, start: number, end: number): Generator<Extent> {
    for (let at = start; at < end; ) {
      const windowOffset = at - (at % windowBytes)
      const windowEnd = Math.min(end, windowOffset + windowBytes)
      const layers = inode.buffer?.layers(windowOffset / windowBytes) ?? []
      if (!layers.some(layer => layer.covers(at - windowOffset, windowEnd - windowOffset))) {
        const extents = this.#extents.at(inode, at)
        for (let index = firstAfter(extents, at); index < extents.length; index++) {
          const extent = extents[index]!
          if (extent.offset >= windowEnd) break
          yield extent
        }
      }
      at = windowEnd
    }
  }

  #load(needed: Iterable<Extent>, held: ReadSet): void {
    const loads: Promise<void>[] = []
    for (const extent of needed) {
      const { id } = extent
      if (held.failures.has(id)) throw held.failures.get(id)
      if (held.values.has(id)) continue
      const value = this.#cache.get(id)
      if (value !== undefined) {
        held.keep(id, value)
        continue
      }
      // A block may be freed while it is on its way: its failure counts only if it is still needed then.
      const load = this.#cache.load(extent).then(
        bytes => held.keep(id, bytes),
        error => void held.failures.set(id, error),
      )
      loads.push(load)
    }
    if (loads.length > 0) throw new NotLoaded(Promise.all(loads).then(() => undefined))
  }

  #readWindow(inode: Inode, start: number, end: number, held: ReadSet, parts: Uint8Array[]): void {
    const windowOffset = start - (start % windowBytes)
    const layers = inode.buffer?.layers(windowOffset / windowBytes) ?? []
    const covering = layers.at(-1)
    if (covering?.covers(start - windowOffset, end - windowOffset)) {
      parts.push(covering.view(start - windowOffset, end - windowOffset))
      return
    }
    if (layers.length === 0) {
      this.#readStored(inode, start, end, held, parts)
      return
    }
    const bytes = Buffer.alloc(end - start)
    if (!layers.some(layer => layer.covers(start - windowOffset, end - windowOffset))) {
      const below: Uint8Array[] = []
      this.#readStored(inode, start, end, held, below)
      let at = 0
      for (const part of below) {
        bytes.set(part, at)
        at += part.length
      }
    }
    for (const layer of layers) layer.overlay(bytes, start - windowOffset)
    parts.push(bytes)
  }

  #readStored(inode: Inode, start: number, end: number, held: ReadSet, parts: Uint8Array[]): void {
    const extents = this.#extents.at(inode, start)
    let at = start
    for (let index = firstAfter(extents, start); at < end; index++) {
      const extent = extents[index]
      const holeEnd = Math.min(end, extent?.offset ?? end)
      if (at < holeEnd) {
        parts.push(zeros.subarray(0, holeEnd - at))
        at = holeEnd
      }
      if (extent === undefined || at >= end) return
      const value = held.values.get(extent.id)!
      const from = extent.valueOffset + (at - extent.offset)
      const to = Math.min(extent.valueOffset + extent.length, from + (end - at))
      parts.push(value.subarray(from, to))
      at += to - from
    }
  }
}

/** Read-ahead is a guess; a reader that gets there asks again, and is told. */
function ignoredUntilRead(): void {}
