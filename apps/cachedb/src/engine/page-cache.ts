import type { Segment } from './shelf/segment.ts'

/** From the page cache 1 MiB takes a third of this; what takes longer came from the disk, or the processor was away. */
const slowMs = 2
const segmentPauseMs = 250
/** So the loop stands still for the disk at most a tenth of the time. */
const pausePerSlowMs = 10

/** Which segments' files the page cache is likely to hold: told by how long the last read at once took. Reading a small value at once
 *  costs 5 us, by the thread pool 60; from a disk that must seek it stops everybody for 10 ms. */
export class PageCache {
  readonly #fromMs = new WeakMap<Segment, number>()
  /** For all segments. */
  #nextMs = 0

  mayHold(segment: Segment, nowMs: number): boolean {
    return nowMs >= this.#nextMs && nowMs >= (this.#fromMs.get(segment) ?? 0)
  }

  /** A read at once took this long. */
  noteRead(segment: Segment, tookMs: number, nowMs: number): void {
    if (tookMs < slowMs) return
    this.#nextMs = nowMs + tookMs * pausePerSlowMs
    this.#fromMs.set(segment, nowMs + segmentPauseMs)
  }
}
