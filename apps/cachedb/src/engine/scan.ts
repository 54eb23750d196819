import { layout } from '@qsfs/bytes/layout'
import { KeyRefused } from '../errors.ts'
import { ActiveSegment } from '../segment/active.ts'
import { hintRecords } from '../segment/hint-format.ts'
import type { ScanPage } from './namespace.ts'
import { readHint } from './shelf/hint-file.ts'
import type { Segment } from './shelf/segment.ts'
import type { Writer } from './writer/writer.ts'

/** 0-db's cursor: what an entry was, and where. Its "index file" is our segment, its offset that of the data entry. */
const Cursor = layout('scan_cursor', 17, {
  keyBytes: [0, 'u8'],
  segmentId: [1, 'u32'],
  valueBytes: [5, 'u32'],
  offsetBytes: [9, 'u32'],
  valueCrc: [13, 'u32'],
})

interface Position {
  readonly segmentId: number
  readonly offsetBytes: number
  /** Where in the segment's hint the next entry begins. */
  readonly hintAt: number
}

/** SCAN: walks the hints in append order and asks the keydir which entries still live. A key that is written meanwhile comes again
 *  at its new place. */
export class ScanCursor {
  readonly #writer: Writer
  /** The closed segment whose hint was read last: the next call mostly goes on in it. */
  #hint: { readonly segment: Segment; readonly entries: Buffer } | null = null
  #last: Position | null = null

  constructor(writer: Writer) {
    this.#writer = writer
  }

  /** Live entries behind `after`, for up to `budgetMs` and at least one; null when there are no more.
   *  @throws KeyRefused when `after` is no cursor */
  next(after: Buffer | null, budgetMs: number): ScanPage | null {
    const { shelf, catalog } = this.#writer
    const { clock } = shelf.context
    const endMs = clock.monotonicMs() + budgetMs
    const entries: ScanPage['entries'][number][] = []
    let { segment, hintAt } = this.#begin(after)
    let last: Buffer | null = null
    for (; segment !== undefined; segment = shelf.after(segment.id), hintAt = 0) {
      for (const { key, valueBytes, valueCrc, timestampSeconds, offsetBytes, tombstone, nextAt } of hintRecords(
        this.#entriesOf(segment),
        hintAt,
      )) {
        const location = tombstone === null ? catalog.find(key) : null
        if (location?.segmentId !== segment.id || location.offsetBytes !== offsetBytes) continue
        entries.push({ key: Buffer.copyBytesFrom(key), valueBytes, timestampSeconds })
        this.#last = { segmentId: segment.id, offsetBytes, hintAt: nextAt }
        last = Cursor.toBuffer({ keyBytes: key.length, segmentId: segment.id, valueBytes, offsetBytes, valueCrc })
        if (clock.monotonicMs() >= endMs) return { cursor: last, entries }
      }
    }
    return last === null ? null : { cursor: last, entries }
  }

  #begin(after: Buffer | null): { segment: Segment | undefined; hintAt: number } {
    const { shelf } = this.#writer
    if (after === null) return { segment: shelf.after(-1), hintAt: 0 }
    if (after.length !== Cursor.sizeBytes) throw new KeyRefused('Invalid key format')
    const { segmentId, offsetBytes, valueBytes, valueCrc } = Cursor.decode(after)
    if (segmentId > shelf.manifest.state.lastSegmentId) throw new KeyRefused('Invalid key format')
    const segment = shelf.find(segmentId)
    // Its segment died since the cursor was given: all of its live entries are behind it by now.
    if (segment === undefined) return { segment: shelf.after(segmentId), hintAt: 0 }
    if (this.#last?.segmentId === segmentId && this.#last.offsetBytes === offsetBytes)
      return { segment, hintAt: this.#last.hintAt }
    for (const record of hintRecords(this.#entriesOf(segment))) {
      if (record.offsetBytes === offsetBytes && record.valueBytes === valueBytes && record.valueCrc === valueCrc) {
        return { segment, hintAt: record.nextAt }
      }
    }
    throw new KeyRefused('Invalid key format')
  }

  #entriesOf(segment: Segment): Buffer {
    if (segment.reader instanceof ActiveSegment) return segment.reader.entries.bytes
    if (this.#hint?.segment !== segment)
      this.#hint = { segment, entries: readHint(this.#writer.shelf.context.storage, segment).entries }
    return this.#hint.entries
  }
}
