import { windowBytes } from './extents.ts'

/** A stretch of a window: [start, end), counted from the window's start. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** Where a window's memory comes from and goes back to. */
export interface WindowMemory {
  take(sizeBytes: number): Buffer
  release(bytes: Buffer): void
}

const smallestBytes = 4096

/** Bytes of one 128 KiB window of a file that are not stored yet. */
export class DirtyWindow {
  readonly index: number
  readonly bornMs: number
  /** Its bytes have extents in the running transaction or an earlier one. */
  isNamed = false
  /** Waits for its turn in the flusher's queue. */
  isQueued = false
  #memory: WindowMemory
  #bytes: Buffer
  /** Sorted, never touching each other. */
  #ranges: readonly Range[] = []
  #flushed: PromiseWithResolvers<void> | null = null

  constructor(index: number, bornMs: number, memory: WindowMemory) {
    this.index = index
    this.bornMs = bornMs
    this.#memory = memory
    this.#bytes = empty
  }

  get offset(): number {
    return this.index * windowBytes
  }
  get ranges(): readonly Range[] {
    return this.#ranges
  }
  /** Memory it holds. */
  get sizeBytes(): number {
    return this.#bytes.length
  }
  get isFull(): boolean {
    const first = this.#ranges[0]
    return first !== undefined && first.start === 0 && first.end === windowBytes
  }

  /** @returns by how much the memory it holds grew */
  write(at: number, data: Uint8Array): number {
    const before = this.#bytes.length
    const end = at + data.length
    if (end > before) this.#grow(end)
    this.#bytes.set(data, at)
    this.#ranges = addRange(this.#ranges, { start: at, end })
    return this.#bytes.length - before
  }

  /** Views: they change with the next write. */
  view(start: number, end: number): Buffer {
    return this.#bytes.subarray(start, end)
  }

  /** True when every byte of [start, end) is here. */
  covers(start: number, end: number): boolean {
    return this.#ranges.some(range => range.start <= start && end <= range.end)
  }

  /** Lays what is here over `target`, which stands for the window from `start` on. */
  overlay(target: Buffer, start: number): void {
    for (const range of this.#ranges) {
      const from = Math.max(range.start, start)
      const to = Math.min(range.end, start + target.length)
      if (from < to) this.#bytes.copy(target, from - start, from, to)
    }
  }

  /** Forgets [start, end): a truncate or a hole came later than the bytes. */
  subtract(start: number, end: number): void {
    this.#ranges = this.#ranges.flatMap(range => {
      const kept: Range[] = []
      if (range.start < Math.min(range.end, start)) kept.push({ start: range.start, end: Math.min(range.end, start) })
      if (Math.max(range.start, end) < range.end) kept.push({ start: Math.max(range.start, end), end: range.end })
      return kept
    })
  }

  /** Bytes of `older` that were not written again move here.
   *  @returns by how much the memory it holds grew */
  underlay(older: DirtyWindow): number {
    const mine = this.#ranges
    const before = this.#bytes.length
    const copy = new DirtyWindow(this.index, this.bornMs, this.#memory)
    copy.#ranges = older.#ranges
    for (const { start, end } of mine) copy.subtract(start, end)
    for (const { start, end } of copy.#ranges) this.write(start, older.view(start, end))
    return this.#bytes.length - before
  }

  /** Settles with the next flush of these bytes. */
  whenFlushed(): Promise<void> {
    this.#flushed ??= Promise.withResolvers<void>()
    return this.#flushed.promise
  }

  settle(error: unknown): void {
    const waiters = this.#flushed
    this.#flushed = null
    if (error === null) waiters?.resolve()
    else waiters?.reject(error)
  }

  /** The bytes are not needed any more: stored, or gone. */
  release(): void {
    this.#memory.release(this.#bytes)
    this.#bytes = empty
    this.#ranges = []
  }

  #grow(end: number): void {
    let sizeBytes = Math.max(smallestBytes, this.#bytes.length)
    while (sizeBytes < end) sizeBytes *= 2
    const grown = this.#memory.take(sizeBytes)
    grown.set(this.#bytes)
    if (this.#bytes.length > 0) this.#memory.release(this.#bytes)
    this.#bytes = grown
  }
}

const empty = Buffer.alloc(0)

/** Joins what overlaps or touches. */
export function addRange(ranges: readonly Range[], { start, end }: Range): readonly Range[] {
  const last = ranges.at(-1)
  if (last === undefined || last.end < start) return [...ranges, { start, end }]
  const before = ranges.filter(range => range.end < start)
  const after = ranges.filter(range => range.start > end)
  const joined = ranges.slice(before.length, ranges.length - after.length)
  const from = Math.min(start, joined[0]?.start ?? start)
  const to = Math.max(end, joined.at(-1)?.end ?? end)
  return [...before, { start: from, end: to }, ...after]
}
