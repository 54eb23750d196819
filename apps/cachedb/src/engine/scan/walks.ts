import { KeyNotFound, KeyRefused, SegmentUnavailable } from '../../errors.ts'
import { type HintRecord, hintRecords } from '../../segment/hint-format.ts'
import type { EntryLocation } from '../keydir/keydir.ts'
import type { Segment } from '../shelf/segment.ts'
import type { Shelf } from '../shelf/shelf.ts'
import type { Writer } from '../writer/writer.ts'
import { type Cursor, decodeCursor, type EntryPlace, encodeCursor } from './cursor.ts'
import { HintPages } from './hint-pages.ts'
import { Slices } from './slices.ts'

/** As 0-db: a page is what is found in this time, and one entry at least. */
const pageMs = 2
/** RSCAN: how long compaction waits for the client's next call, and how long for calls in a row; after that it has as long for itself. */
const backwardHoldMs = 10_000
const backwardHoldMsMax = 10 * 60_000
const locateAttemptsMax = 5

export interface ScanPage {
  /** 0-db's 17 bytes, of the last entry returned. */
  readonly cursor: Buffer
  readonly entries: readonly { readonly key: Buffer; readonly valueBytes: number; readonly timestampSeconds: number }[]
}

/** Walks over the live entries of a namespace, in append order or against it: the hints say what was written and the keydir what of
 *  it still lives. A key that is written meanwhile moves to the end: going forward it comes again, going backward it is missed. */
export class Walks {
  readonly pages: HintPages
  readonly #writer: Writer
  readonly #shelf: Shelf
  #heldFromMs = Number.NEGATIVE_INFINITY

  constructor(writer: Writer) {
    this.#writer = writer
    this.#shelf = writer.shelf
    this.pages = new HintPages(writer.shelf)
  }

  slices(sliceMs = pageMs): Slices {
    return new Slices(this.#shelf.context.clock, sliceMs)
  }

  /** RSCAN was asked lately: what compaction moved forward now, its client would miss. */
  get isCompactionHeld(): boolean {
    return this.#shelf.context.clock.monotonicMs() < this.#shelf.compactionHeldUntilMs
  }

  /** SCAN: live entries strictly behind the cursor, from the first one without; null: no more.
   *  @throws KeyRefused 'Invalid key format', FormatError or StorageError of a hint */
  async forward(after: Buffer | null, sliceMs = pageMs): Promise<ScanPage | null> {
    this.#writer.writePending()
    const slices = this.slices(sliceMs)
    const place = after === null ? beforeAll : await this.#placeOf(after, slices)
    const found = new Found()
    let offsetBytes = place.offsetBytes
    for (let segment = this.#shelf.from(place.segmentId, 1); segment; segment = this.#shelf.from(segment.id + 1, 1)) {
      const isFirst = segment.id === place.segmentId
      let page = isFirst ? Math.max(0, await this.pages.find(segment, offsetBytes, slices)) : 0
      if (!isFirst) offsetBytes = -1
      for (; page < (await this.pages.count(segment, slices)); page++) {
        for (const record of hintRecords(await this.pages.read(segment, page, slices))) {
          if (record.offsetBytes > offsetBytes && this.#lives(segment, record)) found.add(segment, record)
          if (!slices.isOver) continue
          if (!found.isEmpty) return found.page()
          await slices.pause()
        }
      }
    }
    this.#requireOpen()
    return found.page()
  }

  /** RSCAN: the same against the append order, strictly before the cursor, from the last one without. */
  async backward(before: Buffer | null, sliceMs = pageMs): Promise<ScanPage | null> {
    this.#writer.writePending()
    const slices = this.slices(sliceMs)
    const place = before === null ? behindAll : await this.#placeOf(before, slices)
    const found = new Found()
    for await (const { segment, bytes, endOffset } of this.pagesBefore(place, slices)) {
      for (const record of [...hintRecords(bytes)].reverse()) {
        if (record.offsetBytes < endOffset && this.#lives(segment, record)) found.add(segment, record)
        if (!slices.isOver) continue
        if (!found.isEmpty) return this.#hold(found)
        await slices.pause()
      }
    }
    return this.#hold(found)
  }

  /** KSCAN: every live key that begins with the prefix.
   *  @throws KeyRefused when they are over `replyBytesMax` together */
  async keysWith(prefix: Buffer, replyBytesMax: number): Promise<readonly Buffer[]> {
    this.#writer.writePending()
    const slices = this.slices()
    const keys: Buffer[] = []
    let replyBytes = 0
    for (let segment = this.#shelf.from(0, 1); segment; segment = this.#shelf.from(segment.id + 1, 1)) {
      for (let page = 0; page < (await this.pages.count(segment, slices)); page++) {
        for (const record of hintRecords(await this.pages.read(segment, page, slices))) {
          if (slices.isOver) await slices.pause()
          if (!prefix.equals(record.key.subarray(0, prefix.length)) || !this.#lives(segment, record)) continue
          keys.push(Buffer.copyBytesFrom(record.key))
          replyBytes += record.key.length + keyOverheadBytes
          if (replyBytes > replyBytesMax) throw new KeyRefused(`ERR reply would be over ${replyBytesMax} bytes`)
        }
      }
    }
    this.#requireOpen()
    return keys
  }

  /** KEYCUR: the cursor of a live key. @throws KeyNotFound */
  async cursorOf(key: Buffer): Promise<Buffer> {
    return encodeCursor({ ...(await this.locate(key)), keyBytes: key.length })
  }

  /** Where a live key is, with its checksum: the keydir of sequential ids does not keep that, the hint does.
   *  @throws KeyNotFound */
  async locate(key: Buffer): Promise<EntryLocation> {
    this.#writer.writePending()
    const slices = this.slices()
    for (let attempt = 0; attempt < locateAttemptsMax; attempt++) {
      const location = this.#writer.catalog.find(key)
      if (location === null) throw new KeyNotFound()
      if (location.valueCrc >= 0) return location
      const record = await this.pages.entryAt(location, slices)
      if (record !== null) return { ...location, valueCrc: record.valueCrc }
      // It moved meanwhile.
      await slices.pause()
    }
    throw new SegmentUnavailable('the hint does not know where the keydir says the key is')
  }

  /** Pages of entries, newest page first, of which those below `endOffset` lie before the place. */
  async *pagesBefore(
    place: EntryPlace,
    slices: Slices,
  ): AsyncGenerator<{ readonly segment: Segment; readonly bytes: Buffer; readonly endOffset: number }> {
    for (let segment = this.#shelf.from(place.segmentId, -1); segment; segment = this.#shelf.from(segment.id - 1, -1)) {
      const isFirst = segment.id === place.segmentId
      const endOffset = isFirst ? place.offsetBytes : Number.MAX_SAFE_INTEGER
      for (let page = await this.pages.find(segment, endOffset, slices); page >= 0; page--)
        yield { segment, bytes: await this.pages.read(segment, page, slices), endOffset }
    }
    this.#requireOpen()
  }

  #lives({ id: segmentId }: Segment, { key, offsetBytes, tombstone }: HintRecord): boolean {
    const location = tombstone === null ? this.#writer.catalog.find(key) : null
    return location !== null && location.segmentId === segmentId && location.offsetBytes === offsetBytes
  }

  /** The place of the entry that the cursor was made from. @throws KeyRefused */
  async #placeOf(cursor: Buffer, slices: Slices): Promise<EntryPlace> {
    const { segmentId, offsetBytes, keyBytes, valueBytes, valueCrc } = decodeCursor(cursor)
    const isSame = (record: HintRecord) => record.valueBytes === valueBytes && record.valueCrc === valueCrc
    if (segmentId > this.#shelf.manifest.state.lastSegmentId) throw new KeyRefused('Invalid key format')
    // Its segment is gone: what lived in it has moved behind it, or died.
    if (this.#shelf.find(segmentId) === undefined) return { segmentId, offsetBytes }
    const record = await this.pages.entryAt({ segmentId, offsetBytes }, slices)
    // Or went just now.
    if (this.#shelf.find(segmentId) === undefined) return { segmentId, offsetBytes }
    if (record === null || record.tombstone !== null || record.key.length !== keyBytes || !isSame(record))
      throw new KeyRefused('Invalid key format')
    if (this.#writer.catalog.mode === 'sequential') {
      // 0-db overwrites the slot of an id: an update makes its cursor invalid, a deletion does not.
      const location = this.#writer.catalog.find(record.key)
      const now = location === null ? record : await this.pages.entryAt(location, slices)
      if (now !== null && !isSame(now)) throw new KeyRefused('Invalid key format')
    }
    return { segmentId, offsetBytes }
  }

  /** What compaction moves forward past a client that walks backward, it would miss. */
  #hold(found: Found): ScanPage | null {
    const nowMs = this.#shelf.context.clock.monotonicMs()
    if (nowMs - this.#heldFromMs >= 2 * backwardHoldMsMax) this.#heldFromMs = nowMs
    // At its end a walk holds nothing more; another one may.
    const isHolding = !found.isEmpty && nowMs - this.#heldFromMs < backwardHoldMsMax
    if (isHolding) this.#shelf.compactionHeldUntilMs = nowMs + backwardHoldMs
    return found.page()
  }

  /** What is closed has no segments: a walk that met its end there has not seen them all. */
  #requireOpen(): void {
    if (this.#shelf.signal.aborted) throw new SegmentUnavailable('the namespace was closed')
  }
}

const beforeAll: EntryPlace = { segmentId: -1, offsetBytes: -1 }
const behindAll: EntryPlace = { segmentId: Number.MAX_SAFE_INTEGER, offsetBytes: Number.MAX_SAFE_INTEGER }
/** Of a key in a reply and in memory. */
const keyOverheadBytes = 64

/** What a call has found so far. */
class Found {
  readonly #entries: ScanPage['entries'][number][] = []
  #last: Cursor | null = null

  get isEmpty(): boolean {
    return this.#last === null
  }

  add({ id: segmentId }: Segment, { key, valueBytes, timestampSeconds, offsetBytes, valueCrc }: HintRecord): void {
    // A view of a page that nobody changes: the reply is gone before that costs anything.
    this.#entries.push({ key, valueBytes, timestampSeconds })
    this.#last = { keyBytes: key.length, segmentId, valueBytes, offsetBytes, valueCrc }
  }

  page(): ScanPage | null {
    return this.#last === null ? null : { cursor: encodeCursor(this.#last), entries: this.#entries }
  }
}
