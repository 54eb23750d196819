/** Segments that lost a live value since the list was last cleared: what 0-db marks in its index files in place, we only count.
 *  In memory, as 0-db's: it ends with the process, RELOAD and FLUSH. */
export class DirtySegments {
  readonly #ids = new Set<number>()

  add(segmentId: number): void {
    this.#ids.add(segmentId)
  }

  /** A segment that is gone is none any more: the list is never longer than that of the segments. */
  remove(segmentId: number): void {
    this.#ids.delete(segmentId)
  }

  /** Ascending. */
  ids(): readonly number[] {
    return [...this.#ids].sort((a, b) => a - b)
  }

  clear(): void {
    this.#ids.clear()
  }
}
