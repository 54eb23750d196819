import type { Segment } from './shelf/segment.ts'

/** From the page cache 1 MiB takes a third of this; what takes longer came from the disk, or the processor was away. The disk's counter
 *  tells which: on a busy machine nearly always the processor. So many in a row are taken for the disk's whatever it says: not every
 *  filesystem counts. */
const slowMs = 2
const slowInRowMax = 3
const segmentPauseMs = 250
/** So the loop stands still for the disk at most a tenth of the time. */
const pausePerSlowMs = 10

/** Which segments' files the page cache is likely to hold: told by how long the last read at once took. Reading a small value at once
 *  costs 5 us, by the thread pool 60; from a disk that must seek it stops everybody for 10 ms. */
export class PageCache {
  readonly #blocksRead: () => number
  readonly #fromMs = new WeakMap<Segment, number>()
  #slowInRow = 0
  /** At the last slow read. */
  #lastBlocksRead: number
  /** For all segments. */
  #nextMs = 0

  /** @param blocksRead by this process from disks, so far */
  constructor(blocksRead: () => number) {
    this.#blocksRead = blocksRead
    this.#lastBlocksRead = blocksRead()
  }

  mayHold(segment: Segment, nowMs: number): boolean {
    return nowMs >= this.#nextMs && nowMs >= (this.#fromMs.get(segment) ?? 0)
  }

  /** A read at once took this long. */
  noteRead(segment: Segment, tookMs: number, nowMs: number): void {
    if (tookMs < slowMs) {
      this.#slowInRow = 0
      return
    }
    const blocksRead = this.#blocksRead()
    const isDisk = blocksRead !== this.#lastBlocksRead || ++this.#slowInRow >= slowInRowMax
    this.#lastBlocksRead = blocksRead
    if (!isDisk) return
    this.#slowInRow = 0
    this.#nextMs = nowMs + tookMs * pausePerSlowMs
    this.#fromMs.set(segment, nowMs + segmentPauseMs)
  }
}
