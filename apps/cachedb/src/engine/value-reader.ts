import { delay } from '@qsfs/concurrency/clock'
import { ColdSegment, SegmentUnavailable } from '../errors.ts'
import type { ValuePlace } from '../segment/reader.ts'
import { StorageError } from '../segment/storage.ts'
import type { MaybePromise } from './namespace.ts'
import { PageCache } from './page-cache.ts'
import type { EntryPlace } from './scan/cursor.ts'
import type { Segment } from './shelf/segment.ts'
import type { Shelf } from './shelf/shelf.ts'
import type { Writer } from './writer/writer.ts'

/** What an absent segment means: an error at once, or waiting for its restore. */
export type Cold = 'fail' | 'wait'

/** A value whose segment was evicted again this often between its restore and its read is given up. */
const readAttemptsMax = 5
/** How often it is looked whether a compaction has ended. */
const compactionLookMs = 10
/** A larger one is copied from the page cache by a thread. */
const atOnceBytesMax = 1024 * 1024

/** Reads values from segments that come and go: absent ones are restored, damaged ones fetched again. */
export class ValueReader {
  readonly #writer: Writer
  readonly #shelf: Shelf
  /** Of places in the value cache: another namespace of the same name is another one. */
  readonly #placePrefix: string
  readonly #pageCache: PageCache

  constructor(writer: Writer, incarnation: string) {
    this.#writer = writer
    this.#shelf = writer.shelf
    this.#placePrefix = `${incarnation}.`
    this.#pageCache = new PageCache(() => writer.shelf.context.storage.blocksRead())
  }

  /** Unique over namespaces and segments; bytes of a segment never change. */
  placeOf({ segmentId, offsetBytes }: EntryPlace): string {
    return `${this.#placePrefix}${segmentId}.${offsetBytes}`
  }

  /** The value a key has at its location: at once when it is in memory or, if that is wanted, likely in the page cache.
   *  @throws ColdSegment, SegmentUnavailable, also as a rejection */
  get(key: Buffer, location: EntryPlace & ValuePlace, cold: Cold, atOnce: boolean): MaybePromise<Buffer | null> {
    const { clock, values } = this.#shelf.context
    const segment = this.#shelf.get(location.segmentId)
    const nowMs = clock.monotonicMs()
    segment.lastReadMs = nowMs
    const value = atOnce ? this.#readAtOnce(segment, key, location, nowMs) : null
    return value ?? values.get(() => this.placeOf(location)) ?? this.read(key, cold)
  }

  /** The value a key has; null when it does not live. While its segment is restored the key may move or go.
   *  @throws ColdSegment, SegmentUnavailable */
  read(key: Buffer, cold: Cold): Promise<Buffer | null> {
    return this.#read(key, cold, kept => this.#writer.find(kept))
  }

  /** The value of the entry of this key at a place, whatever the key is now. @throws SegmentUnavailable */
  async readAt(key: Buffer, place: EntryPlace & ValuePlace): Promise<Buffer> {
    const value = await this.#read(key, 'wait', () => (this.#shelf.find(place.segmentId) === undefined ? null : place))
    if (value === null) throw new SegmentUnavailable(`segment ${place.segmentId} is gone`)
    return value
  }

  /** null when that could take long, or did not succeed. */
  #readAtOnce(segment: Segment, key: Buffer, place: ValuePlace, nowMs: number): Buffer | null {
    if (!segment.isLocal || segment.activity === 'evicting' || place.valueBytes > atOnceBytesMax) return null
    // What was just written is there.
    if (segment.state !== 'open' && !this.#pageCache.mayHold(segment, nowMs)) return null
    const value = this.#shelf.readSync(segment, key, place)
    const endMs = this.#shelf.context.clock.monotonicMs()
    this.#pageCache.noteRead(segment, endMs - nowMs, endMs)
    return value
  }

  async #read(
    key: Buffer,
    cold: Cold,
    locate: (key: Buffer) => (EntryPlace & ValuePlace) | null,
  ): Promise<Buffer | null> {
    const { clock, metrics, values } = this.#shelf.context
    // The caller's bytes are borrowed for as long as the call took, not as long as the promise.
    const kept = Buffer.copyBytesFrom(key)
    for (let attempt = 0; attempt < readAttemptsMax; attempt++) {
      if (this.#shelf.signal.aborted) throw new SegmentUnavailable('the namespace is closed')
      const place = locate(kept)
      if (place === null) return null
      const segment = this.#shelf.get(place.segmentId)
      segment.lastReadMs = clock.monotonicMs()
      segment.pins++
      try {
        const value = segment.isLocal ? await this.#shelf.read(segment, kept, place) : null
        if (value !== null) {
          values.add(this.placeOf(place), value)
          return value
        }
        if (this.#shelf.signal.aborted) continue
        if (segment.isLocal) await this.#damaged(segment, place)
        else {
          metrics.coldReads.add()
          if (cold === 'fail') throw new ColdSegment(segment.id)
          await this.#shelf.restore(segment)
        }
      } finally {
        segment.pins--
        this.#shelf.settled(segment)
      }
    }
    throw new SegmentUnavailable('the value could not be read while its segment came and went')
  }

  /** An entry fails its check. A stored segment is fetched again; of any other this was the only copy. */
  async #damaged(segment: Segment, { offsetBytes }: EntryPlace): Promise<void> {
    const { id: segmentId } = segment
    // Dead or closed between look-up and read: look again.
    if (segment.activity === 'burying' || this.#shelf.noticeLoss(segment)) return
    if (segment.activity !== 'evicting') {
      const { directory, context } = this.#shelf
      context.metrics.damagedEntries.add()
      if (segment.isNews('entry.damaged'))
        context.log.error('entry.damaged', { directory, segmentId, offsetBytes, state: segment.state })
      if (segment.state !== 'stored') throw new SegmentUnavailable(`an entry of segment ${segmentId} fails its check`)
      if (segment.activity === 'compacting') return await this.#compactionEnded(segment)
    }
    try {
      await this.#shelf.giveUpFile(segment, 'damaged')
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      throw new SegmentUnavailable(`segment ${segmentId} is damaged and cannot be given up: ${error.message}`, error)
    }
  }

  /** Who copies out of a damaged file stops, and gives it up. */
  async #compactionEnded(segment: Segment): Promise<void> {
    const { clock } = this.#shelf.context
    segment.isDamaged = true
    while (segment.activity === 'compacting' && !this.#shelf.signal.aborted) await delay(clock, compactionLookMs)
  }
}
