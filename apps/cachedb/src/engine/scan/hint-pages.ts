import { crc32c } from '@qsfs/bytes/checksum'
import { SingleFlight } from '@qsfs/concurrency/single-flight'
import { ActiveSegment } from '../../segment/active.ts'
import { FormatError } from '../../segment/format.ts'
import { decodeHintHead, HintEntry, HintHeader, type HintRecord, hintRecords } from '../../segment/hint-format.ts'
import type { Segment } from '../shelf/segment.ts'
import type { Shelf } from '../shelf/shelf.ts'
import type { EntryPlace } from './cursor.ts'
import type { Slices } from './slices.ts'

/** A page ends with the first entry that reaches this: some 100 µs of work. */
const pageBytesMin = 64 * 1024
/** Of a hint file read at once to find its pages. */
const pieceBytes = 1024 * 1024

/** Where the pages of a segment's hint begin. */
class PageIndex {
  /** Per page: its place in the entries, and the data offset of its first entry. */
  readonly starts: number[] = []
  readonly firstOffsets: number[] = []
  /** Where the last page ends, and the entries looked at so far. */
  endAt = 0

  get count(): number {
    return this.starts.length
  }

  /** Goes on with bytes of the entries; an entry that is cut off at their end waits for the next.
   *  @param from where they begin in the entries */
  add(bytes: Buffer, from: number): void {
    let at = this.endAt - from
    while (at + HintEntry.sizeBytes <= bytes.length) {
      const nextAt = at + HintEntry.sizeBytes + bytes[at]!
      if (nextAt > bytes.length) break
      if (this.count === 0 || from + at - this.starts.at(-1)! >= pageBytesMin) {
        this.starts.push(from + at)
        this.firstOffsets.push(HintEntry.decode(bytes, at).offsetBytes)
      }
      at = nextAt
    }
    this.endAt = from + at
  }

  /** The page that an entry at this data offset lies in; -1 when all begin behind it. */
  pageOf(offsetBytes: number): number {
    let [low, high] = [0, this.count]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.firstOffsets[middle]! <= offsetBytes) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  rangeOf(page: number): readonly [fromAt: number, toAt: number] {
    return [this.starts[page]!, this.starts[page + 1] ?? this.endAt]
  }
}

/** The hints of a namespace's segments, in pages of whole entries: one hint may have over 50 MB, and nothing may hold the loop for
 *  as long as that takes. A segment that is gone has no pages. */
export class HintPages {
  readonly #shelf: Shelf
  /** 16 bytes for each 64 KiB of hint. Of a closed segment: of the whole, verified. */
  readonly #indexes = new WeakMap<Segment, PageIndex>()
  readonly #verified = new WeakSet<PageIndex>()
  readonly #verifying = new SingleFlight<Segment, PageIndex>()
  /** The page of a closed segment that was read last: the next scan mostly goes on in it. */
  #last: { readonly index: PageIndex; readonly page: number; readonly bytes: Buffer } | null = null

  constructor(shelf: Shelf) {
    this.#shelf = shelf
  }

  /** How many pages the segment has now; of the open one there may be more later. */
  async count(segment: Segment, slices: Slices): Promise<number> {
    return (await this.#indexOf(segment, slices)).count
  }

  /** The number of the page for the entry at a data offset, -1 when there is none. */
  async find(segment: Segment, offsetBytes: number, slices: Slices): Promise<number> {
    return (await this.#indexOf(segment, slices)).pageOf(offsetBytes)
  }

  /** Whole entries, for `hintRecords`; the bytes stay as they are.
   *  @throws FormatError, StorageError */
  async read(segment: Segment, page: number, slices: Slices): Promise<Buffer> {
    const index = await this.#indexOf(segment, slices)
    // Its hint went with it, perhaps between two of its pages.
    if (page >= index.count || this.#shelf.find(segment.id) !== segment) return Buffer.alloc(0)
    const [fromAt, toAt] = index.rangeOf(page)
    if (segment.reader instanceof ActiveSegment)
      return Buffer.copyBytesFrom(segment.reader.entries.bytes, fromAt, toAt - fromAt)
    if (this.#last?.index === index && this.#last.page === page) return this.#last.bytes
    using file = this.#shelf.context.storage.openRead(segment.hintPath)
    const bytes = await file.read(HintHeader.sizeBytes + fromAt, toAt - fromAt)
    this.#last = { index, page, bytes }
    return bytes
  }

  /** What the hint says of the entry that begins at this place; null when none does. */
  async entryAt({ segmentId, offsetBytes }: EntryPlace, slices: Slices): Promise<HintRecord | null> {
    const segment = this.#shelf.find(segmentId)
    if (segment === undefined) return null
    const page = await this.find(segment, offsetBytes, slices)
    if (page < 0) return null
    for (const record of hintRecords(await this.read(segment, page, slices)))
      if (record.offsetBytes === offsetBytes) return record
    return null
  }

  async #indexOf(segment: Segment, slices: Slices): Promise<PageIndex> {
    if (segment.reader instanceof ActiveSegment) return this.#followActive(segment, slices)
    const known = this.#indexes.get(segment)
    if (known !== undefined && this.#verified.has(known)) return known
    if (this.#shelf.find(segment.id) !== segment) return new PageIndex()
    return this.#verifying.run(segment, () => this.#verify(segment, slices))
  }

  /** The open segment's entries are in memory: goes on where it stopped the last time. */
  async #followActive(segment: Segment, slices: Slices): Promise<PageIndex> {
    let index = this.#indexes.get(segment) ?? new PageIndex()
    while (segment.reader instanceof ActiveSegment) {
      const { bytes } = segment.reader.entries
      // A failed sync took entries away.
      if (index.endAt > bytes.length) index = new PageIndex()
      this.#indexes.set(segment, index)
      if (index.endAt === bytes.length) return index
      index.add(bytes.subarray(index.endAt, index.endAt + pieceBytes), index.endAt)
      if (slices.isOver) await slices.pause()
    }
    // Closed meanwhile.
    return this.#indexOf(segment, slices)
  }

  /** Reads a hint file once as a whole, in pieces. */
  async #verify(segment: Segment, slices: Slices): Promise<PageIndex> {
    using file = this.#shelf.context.storage.openRead(segment.hintPath)
    const head = decodeHintHead(await file.read(0, HintHeader.sizeBytes))
    if (head.segmentId !== segment.id || head.entriesBytes !== file.sizeBytes - HintHeader.sizeBytes)
      throw new FormatError(`${segment.hintPath} is not the hint that was written`)
    const index = new PageIndex()
    let crc = 0
    for (let from = -1; index.endAt < head.entriesBytes && index.endAt > from; ) {
      from = index.endAt
      const piece = await file.read(HintHeader.sizeBytes + from, pieceBytes)
      index.add(piece, from)
      crc = crc32c(piece.subarray(0, index.endAt - from), crc)
      if (slices.isOver) await slices.pause()
    }
    if (crc !== head.entriesCrc || index.endAt !== head.entriesBytes)
      throw new FormatError(`${segment.hintPath}: the entries fail their checksum`)
    this.#indexes.set(segment, index)
    this.#verified.add(index)
    return index
  }
}
