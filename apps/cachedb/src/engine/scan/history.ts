import { Refused } from '../../errors.ts'
import { HintEntry, type HintRecord, hintRecords } from '../../segment/hint-format.ts'
import type { ValueReader } from '../value-reader.ts'
import { decodePosition, type EntryPlace, encodePosition } from './cursor.ts'
import type { Slices } from './slices.ts'
import type { Walks } from './walks.ts'

/** HISTORY's answer. */
export interface HistoryEntry {
  /** 0-db's 8 bytes of where the next older version lies; null when there is none. */
  readonly older: Buffer | null
  readonly timestampSeconds: number
  readonly value: Buffer
}

/** One value that a key has or had. */
interface Version extends EntryPlace {
  readonly valueBytes: number
  readonly valueCrc: number
  readonly timestampSeconds: number
  /** Known to be the first since the key was last made. */
  readonly isFirst: boolean
}

/** The versions of a key, as far as segments still hold them. No entry knows the one before it: the hints are walked backward. */
export class History {
  readonly #walks: Walks
  readonly #values: ValueReader

  constructor(walks: Walks, values: ValueReader) {
    this.#walks = walks
    this.#values = values
  }

  /** The value a key has, or the older one at a position that this gave. Waits for absent segments, others are served meanwhile.
   *  @throws KeyNotFound, Refused, SegmentUnavailable */
  async read(key: Buffer, position: Buffer | null): Promise<HistoryEntry> {
    const version = await (position === null ? this.#current(key) : this.#at(key, position))
    const older = await this.#olderThan(key, version)
    const value = await this.#values.readAt(key, version)
    const { timestampSeconds } = version
    return { older: older === null ? null : encodePosition(older), timestampSeconds, value }
  }

  async #current(key: Buffer): Promise<Version> {
    const location = await this.#walks.locate(key)
    return { ...location, isFirst: !location.updated }
  }

  /** Also of a key that was deleted since. @throws Refused */
  async #at(key: Buffer, position: Buffer): Promise<Version> {
    const place = decodePosition(position)
    if (place === null) throw new Refused('Invalid arguments')
    if (place.segmentId === 0 && place.offsetBytes === 0) throw new Refused('No more history')
    const record = await this.#walks.pages.entryAt(place, this.#walks.slices())
    if (record === null || record.tombstone !== null) throw new Refused('Invalid arguments (index query)')
    if (!record.key.equals(key)) throw new Refused('Invalid arguments (invalid key)')
    return { ...record, segmentId: place.segmentId, isFirst: false }
  }

  /** Where the version before this one lies; null when there is none: the key was made by this one, or what is older was dropped by
   *  compaction. */
  async #olderThan(key: Buffer, version: Version): Promise<EntryPlace | null> {
    if (version.isFirst) return null
    const slices = this.#walks.slices()
    for await (const { segment, bytes, endOffset } of this.#walks.pagesBefore(version, slices)) {
      const record = newestOther(bytes, key, endOffset, version)
      if (record?.tombstone === null) return { segmentId: segment.id, offsetBytes: record.offsetBytes }
      if (record !== null) return null
      await pauseIfOver(slices)
    }
    return null
  }
}

async function pauseIfOver(slices: Slices): Promise<void> {
  if (slices.isOver) await slices.pause()
}

/** The newest entry of the key in a page, below a data offset. What equals the version is what it is a copy of: 0-db's rule that
 *  a value already there is not written again keeps two versions in a row apart. */
function newestOther(
  page: Buffer,
  key: Buffer,
  endOffset: number,
  { valueBytes, valueCrc, timestampSeconds }: Version,
): HintRecord | null {
  let newest: HintRecord | null = null
  for (let at = 0; at < page.length; ) {
    const keyAt = at + HintEntry.sizeBytes
    const nextAt = keyAt + page[at]!
    if (nextAt - keyAt === key.length && page.compare(key, 0, key.length, keyAt, nextAt) === 0) {
      const record = hintRecords(page, at).next().value!
      if (record.offsetBytes >= endOffset) break
      const isCopied =
        record.valueBytes === valueBytes && record.valueCrc === valueCrc && record.timestampSeconds === timestampSeconds
      if (!isCopied || record.tombstone !== null) newest = record
    }
    at = nextAt
  }
  return newest
}
