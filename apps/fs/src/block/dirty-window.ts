import { windowBytes } from './extents.ts'

/** A stretch of a window: [start, end), counted from the window's start. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** Where a window's memory comes from and goes back to. */
export interface WindowMemory {
  /** Bytes taken and not released. */
  readonly takenBytes: number
  take(sizeBytes: number): Buffer
  release(bytes: Buffer): void
}

const smallestBytes = 4096

/** A stretch with the memory it lies in. Never changed: what changes is another part. */
interface Part extends Range {
  /** Where the memory begins, counted from the window's start. */
  readonly base: number
  readonly memory: Buffer
}

/** Bytes of one 128 KiB window of a file that are not stored yet. Memory is held for what is here, in whole stretches: a page
 *  somewhere costs a page. */
export class DirtyWindow {
  readonly index: number
  readonly bornMs: number
  /** Its bytes have extents in the running transaction or an earlier one. */
  isNamed = false
  /** Waits for its turn in the flusher's queue. */
  isQueued = false
  readonly #memory: WindowMemory
  /** Sorted, never touching each other. */
  #parts: readonly Part[] = []
  /** Memory without a part, which may be on its way to the store all the same. */
  readonly #forgotten: Buffer[] = []
  #flushed: PromiseWithResolvers<void> | null = null

  constructor(index: number, bornMs: number, memory: WindowMemory) {
    this.index = index
    this.bornMs = bornMs
    this.#memory = memory
  }

  get offset(): number {
    return this.index * windowBytes
  }
  get ranges(): readonly Range[] {
    return this.#parts.map(({ start, end }) => ({ start, end }))
  }
  get isFull(): boolean {
    const first = this.#parts[0]
    return first !== undefined && first.start === 0 && first.end === windowBytes
  }

  write(at: number, data: Uint8Array): void {
    const end = at + data.length
    const parts = this.#parts
    let first = 0
    while (first < parts.length && parts[first]!.end < at) first++
    let next = first
    while (next < parts.length && parts[next]!.start <= end) next++
    const touched = parts.slice(first, next)
    const joined = this.#join(touched, Math.min(at, touched[0]?.start ?? at), Math.max(end, touched.at(-1)?.end ?? end))
    joined.memory.set(data, at - joined.base)
    this.#parts = parts.toSpliced(first, touched.length, joined)
  }

  /** Its bytes lie over those of `stored`, which has all of `whole`: it is one stretch then.
   *  @param stored one after the other */
  fillUp(whole: Range, stored: readonly Uint8Array[]): void {
    const memory = this.#memory.take(capacityFor(whole.end - whole.start))
    let at = 0
    for (const bytes of stored) {
      memory.set(bytes, at)
      at += bytes.length
    }
    this.overlay(memory.subarray(0, at), whole.start)
    for (const part of this.#parts) this.#memory.release(part.memory)
    this.#parts = [{ ...whole, base: whole.start, memory }]
  }

  /** The bytes of a range, or of a part of one: they change with the next write. */
  view(start: number, end: number): Buffer {
    const { base, memory } = this.#parts.find(part => part.start <= start && end <= part.end)!
    return memory.subarray(start - base, end - base)
  }

  /** True when every byte of [start, end) is here. */
  covers(start: number, end: number): boolean {
    return this.#parts.some(part => part.start <= start && end <= part.end)
  }

  /** Lays what is here over `target`, which stands for the window from `start` on. */
  overlay(target: Buffer, start: number): void {
    for (const part of this.#parts) {
      const from = Math.max(part.start, start)
      const to = Math.min(part.end, start + target.length)
      if (from < to) part.memory.copy(target, from - start, from - part.base, to - part.base)
    }
  }

  /** Forgets [start, end): a truncate or a hole came later than the bytes. */
  subtract(start: number, end: number): void {
    this.#parts = this.#parts.flatMap(part => {
      const isLeft = part.start < Math.min(part.end, start)
      const isRight = Math.max(part.start, end) < part.end
      const left = { ...part, end: Math.min(part.end, start) }
      const right = { ...part, start: Math.max(part.start, end) }
      if (isLeft && isRight && start < end) return [left, this.#copy(right)]
      if (isLeft) return [left]
      if (isRight) return [right]
      this.#forgotten.push(part.memory)
      return []
    })
  }

  /** Bytes of `older` that were not written again move here. */
  underlay(older: DirtyWindow): void {
    const mine = this.#parts
    const rest = older.#parts.flatMap(({ start, end }) => gapsOf(mine, { start, end }))
    for (const { start, end } of rest) this.write(start, older.view(start, end))
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
    for (const { memory } of this.#parts) this.#memory.release(memory)
    for (const memory of this.#forgotten.splice(0)) this.#memory.release(memory)
    this.#parts = []
  }

  /** One part from `start` to `end` in place of those that touch it; what none of them has is to be written. */
  #join(touched: readonly Part[], start: number, end: number): Part {
    const first = touched[0]
    const fits = first !== undefined && first.base <= start && end - first.base <= first.memory.length
    const { base, memory } = fits ? first : { base: start, memory: this.#memory.take(capacityFor(end - start)) }
    for (const part of touched) {
      if (part.memory === memory) continue
      part.memory.copy(memory, part.start - base, part.start - part.base, part.end - part.base)
      this.#memory.release(part.memory)
    }
    return { start, end, base, memory }
  }

  #copy({ start, end, base, memory: old }: Part): Part {
    const memory = this.#memory.take(capacityFor(end - start))
    old.copy(memory, 0, start - base, end - base)
    return { start, end, base: start, memory }
  }
}

function capacityFor(lengthBytes: number): number {
  return Math.max(smallestBytes, 2 ** Math.ceil(Math.log2(lengthBytes)))
}

/** The stretches of `whole` that no range has; the ranges are sorted and do not touch each other. */
function gapsOf(ranges: readonly Range[], whole: Range): Range[] {
  const gaps: Range[] = []
  let at = whole.start
  for (const { start, end } of ranges) {
    if (end <= at || start >= whole.end) continue
    if (at < start) gaps.push({ start: at, end: start })
    at = end
  }
  if (at < whole.end) gaps.push({ start: at, end: whole.end })
  return gaps
}
