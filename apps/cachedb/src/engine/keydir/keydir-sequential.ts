import type { EntryLocation, Keydir, ValueInHint } from './keydir.ts'
import { UserKeydir } from './keydir-user.ts'

const idsPerPage = 1024
const Word = { segmentId: 0, offsetBytes: 1, lengthAndFlags: 2, timestampSeconds: 3 } as const
const wordsPerId = 4
const liveBit = 1 << 24
const updatedBit = 1 << 25
const lengthMask = liveBit - 1
/** Below this many live ids a page costs more than the table would. */
const denseMin = idsPerPage / 4

interface Page {
  readonly words: Uint32Array
  live: number
}

/** Sequential ids: pages of 1,024 at 16 bytes an id while at least a quarter of a page lives; the ids of sparser pages move to a
 *  table of keys. Ids are never reused, so without that a long life of overwrites would cost 16 bytes for each id ever given. */
export class SequentialKeydir implements Keydir {
  readonly #pages = new Map<number, Page>()
  readonly #sparse: UserKeydir
  /** The page that new ids fill: it is not yet judged. */
  #newestPage = -1
  #denseCount = 0

  constructor(seed: number) {
    this.#sparse = new UserKeydir(seed)
  }

  get count(): number {
    return this.#denseCount + this.#sparse.count
  }

  get memoryBytes(): number {
    return this.#pages.size * idsPerPage * wordsPerId * 4 + this.#sparse.memoryBytes
  }

  get(key: Uint8Array): EntryLocation | null {
    const id = decodeId(key)
    if (id === null) return null
    const page = this.#pages.get(pageOf(id))
    return page === undefined ? withoutCrc(this.#sparse.get(key)) : locationIn(page, id)
  }

  set(key: Uint8Array, location: EntryLocation): EntryLocation | null {
    const id = decodeId(key)
    if (id === null) throw new RangeError('a sequential key has 8 bytes')
    let page = this.#pages.get(pageOf(id))
    if (page === undefined) {
      // An id of an old page lives in the table, alone there or beside its neighbours.
      if (pageOf(id) <= this.#newestPage) return withoutCrc(this.#sparse.set(key, { ...location, valueCrc: 0 }))
      page = this.#begin(pageOf(id))
    }
    const previous = locationIn(page, id)
    const at = (id % idsPerPage) * wordsPerId
    page.words[at + Word.segmentId] = location.segmentId
    page.words[at + Word.offsetBytes] = location.offsetBytes
    page.words[at + Word.lengthAndFlags] = location.valueBytes | liveBit | (location.updated ? updatedBit : 0)
    page.words[at + Word.timestampSeconds] = location.timestampSeconds
    if (previous === null) {
      page.live++
      this.#denseCount++
    }
    return previous
  }

  /** Pages are as large as they will be, however many come. */
  expect(): void {}

  fit(): Iterable<void> {
    return []
  }

  add(value: ValueInHint, segmentId: number): boolean {
    const id = value.keyBytes === 8 ? idAt(value.bytes, value.keyAt) : null
    if (id === null) throw new RangeError('a sequential key has 8 bytes')
    let page = this.#pages.get(pageOf(id))
    if (page === undefined) {
      if (pageOf(id) <= this.#newestPage) return this.#sparse.add(value, segmentId)
      page = this.#begin(pageOf(id))
    }
    const { words } = page
    const at = (id % idsPerPage) * wordsPerId
    if ((words[at + Word.lengthAndFlags]! & liveBit) !== 0) return false
    words[at + Word.segmentId] = segmentId
    words[at + Word.offsetBytes] = value.offsetBytes
    words[at + Word.lengthAndFlags] = value.valueBytes | liveBit
    words[at + Word.timestampSeconds] = value.timestampSeconds
    page.live++
    this.#denseCount++
    return true
  }

  delete(key: Uint8Array): EntryLocation | null {
    const id = decodeId(key)
    if (id === null) return null
    const page = this.#pages.get(pageOf(id))
    if (page === undefined) return withoutCrc(this.#sparse.delete(key))
    const previous = locationIn(page, id)
    if (previous === null) return null
    page.words[(id % idsPerPage) * wordsPerId + Word.lengthAndFlags] = 0
    page.live--
    this.#denseCount--
    this.#judge(pageOf(id))
    return previous
  }

  #begin(number: number): Page {
    const page = { words: new Uint32Array(idsPerPage * wordsPerId), live: 0 }
    const complete = this.#newestPage
    this.#pages.set(number, page)
    this.#newestPage = number
    this.#judge(complete)
    return page
  }

  /** Moves the live ids of a complete page to the table when they are few. */
  #judge(number: number): void {
    const page = this.#pages.get(number)
    if (page === undefined || number === this.#newestPage || page.live >= denseMin) return
    this.#pages.delete(number)
    this.#denseCount -= page.live
    for (let id = number * idsPerPage; id < (number + 1) * idsPerPage; id++) {
      const location = locationIn(page, id)
      if (location !== null) this.#sparse.set(encodeId(id), { ...location, valueCrc: 0 })
    }
  }
}

/** 0-db's key of a sequential id: 8 bytes, little-endian. */
export function encodeId(id: number): Buffer {
  const key = Buffer.allocUnsafe(8)
  key.writeUInt32LE(id % 2 ** 32, 0)
  key.writeUInt32LE(Math.floor(id / 2 ** 32), 4)
  return key
}

/** null when these bytes are no id below 2^53. */
export function decodeId(key: Uint8Array): number | null {
  return key.length === 8 ? idAt(key, 0) : null
}

function idAt(bytes: Uint8Array, at: number): number | null {
  const low = bytes[at]! + bytes[at + 1]! * 2 ** 8 + bytes[at + 2]! * 2 ** 16 + bytes[at + 3]! * 2 ** 24
  const high = bytes[at + 4]! + bytes[at + 5]! * 2 ** 8 + bytes[at + 6]! * 2 ** 16 + bytes[at + 7]! * 2 ** 24
  return high < 2 ** 21 ? high * 2 ** 32 + low : null
}

function pageOf(id: number): number {
  return Math.floor(id / idsPerPage)
}

function locationIn({ words }: Page, id: number): EntryLocation | null {
  const at = (id % idsPerPage) * wordsPerId
  const lengthAndFlags = words[at + Word.lengthAndFlags]!
  if ((lengthAndFlags & liveBit) === 0) return null
  return {
    segmentId: words[at + Word.segmentId]!,
    offsetBytes: words[at + Word.offsetBytes]!,
    valueBytes: lengthAndFlags & lengthMask,
    timestampSeconds: words[at + Word.timestampSeconds]!,
    valueCrc: -1,
    updated: (lengthAndFlags & updatedBit) !== 0,
  }
}

function withoutCrc(location: EntryLocation | null): EntryLocation | null {
  return location === null ? null : { ...location, valueCrc: -1 }
}
