import { formatSize, MiB } from '@qsfs/bytes/units'
import type { Clock } from '@qsfs/concurrency/clock'
import { CacheFull } from '../../errors.ts'
import { Evictor } from './eviction.ts'

/** A full cache whose stores made progress this lately is worth waiting for. */
const progressWithinMs = 30_000
/** A restore whose room does not come in this time is given up: its reader hears of it. */
const restoreWaitMs = 30_000
/** How many bytes are taken at most between two looks at the disk's free space, where hints and others' files grow too. */
const lookEveryBytesMax = 8 * 1024 * 1024
/** Beside `meta`: one segment for transactions and deletes, one for restores, and four to work in. */
const segmentsMin = 6

/** This part of a segment stays free of copies: hints and records need some. */
const keptOfCopies = 8

/** Who takes room: values of ordinary namespaces, or what must always find some: pinned namespaces and deletes. */
export type RoomClass = 'data' | 'reserved'

export interface RoomLimits {
  /** Hard limit of the data segments of all namespaces together; 0 = only the disk's. */
  readonly limitBytes: number
  readonly segmentBytesMax: number
  /** Free bytes of the disk. */
  readonly freeBytes: () => number
}

/** The room that data segments take on the local disk. One segment is kept for transactions and deletes, one for restores; data
 *  may fill the rest. So deletes need no data room, restores no upload, uploads no room: there is no cycle. */
export class Room {
  readonly #clock: Clock
  readonly #limits: RoomLimits
  /** Knows the shelves whose segments may leave. */
  readonly evictor: Evictor
  readonly #restores: { readonly bytes: number; readonly admit: () => void }[] = []
  #usedBytes = 0
  #freeBytes = 0
  readonly #lookEveryBytes: number
  #takenSinceLook = Number.POSITIVE_INFINITY
  /** Of the room kept for transactions and deletes, what compaction has for the time of one segment. */
  #lentBytes = 0
  /** Down to where the cache must shrink because the disk is full; infinite while it is not. */
  #diskGoalBytes = Number.POSITIVE_INFINITY
  #progressMs = Number.NEGATIVE_INFINITY

  constructor(clock: Clock, limits: RoomLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#lookEveryBytes = Math.min(lookEveryBytesMax, limits.segmentBytesMax / 4)
    this.evictor = new Evictor(this, clock)
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Restores that wait for room. */
  get restoresWaiting(): number {
    return this.#restores.length
  }

  get limitBytes(): number {
    return this.#limits.limitBytes
  }

  /** Bytes by which eviction should shrink the cache now: it begins one segment before data must wait, for a restore, or when the
   *  disk is full. */
  get excessBytes(): number {
    const { limitBytes, segmentBytesMax } = this.#limits
    const forDisk = Math.max(0, this.#usedBytes - this.#diskGoalBytes)
    if (limitBytes === 0) return forDisk
    const forRestore = this.#restores.length > 0 ? this.#usedBytes + this.#restores[0]!.bytes - limitBytes : 0
    return Math.max(forDisk, forRestore, this.#usedBytes - (limitBytes - 3 * segmentBytesMax))
  }

  /** @throws RangeError with the limit to set, when this one is too small beside `pinnedBytes` of pinned namespaces */
  assertLimit(pinnedBytes: number): void {
    const { limitBytes, segmentBytesMax } = this.#limits
    const needed = pinnedBytes + segmentsMin * segmentBytesMax
    if (limitBytes > 0 && limitBytes < needed) {
      throw new RangeError(
        `cache_bytes is ${formatSize(limitBytes)}, too small for ${segmentsMin} segments of segment_bytes (${formatSize(segmentBytesMax)}) ` +
          `beside ${formatSize(pinnedBytes)} of pinned namespaces: set at least "${Math.ceil(needed / MiB)}MiB", or smaller segments`,
      )
    }
  }

  /** Takes room before an append.
   *  @throws CacheFull */
  take(bytes: number, roomClass: RoomClass): void {
    const { limitBytes, segmentBytesMax } = this.#limits
    const keptBytes = roomClass === 'data' ? 2 * segmentBytesMax : segmentBytesMax
    const lentBytes = roomClass === 'data' ? 0 : this.#lentBytes
    const shortNow = () => bytes + keptBytes - lentBytes - this.#diskFreeBytes()
    let shortBytes = shortNow()
    if (shortBytes > 0) {
      // What was seen a while ago is no reason to refuse.
      this.#takenSinceLook = Number.POSITIVE_INFINITY
      shortBytes = shortNow()
    }
    if (shortBytes > 0) throw this.#shrink(shortBytes)
    if (limitBytes > 0 && this.#usedBytes + bytes > limitBytes - keptBytes + lentBytes) {
      this.evictor.press()
      throw this.#full()
    }
    this.#diskGoalBytes = Number.POSITIVE_INFINITY
    this.add(bytes)
  }

  /** Counts bytes that are there. */
  add(bytes: number): void {
    this.#usedBytes += bytes
    this.#takenSinceLook += bytes
    if (this.excessBytes > 0) this.evictor.press()
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes
    this.#takenSinceLook = Number.POSITIVE_INFINITY
    if (this.#usedBytes <= this.#diskGoalBytes) this.#diskGoalBytes = Number.POSITIVE_INFINITY
    this.#admitRestores()
  }

  /** Whether compaction may append so many bytes. Where data may not, it may use the room kept for others, for one segment at a
   *  time whose file leaves as soon as its copies are on disk: a full cache must be able to shrink.
   *  @param lentBytes what was `lend`ed for that segment already */
  canCopy(
    bytes: number,
    { leavesSoon, lentBytes }: { readonly leavesSoon: boolean; readonly lentBytes: number },
  ): boolean {
    const { limitBytes, segmentBytesMax } = this.#limits
    const limitFreeBytes = limitBytes === 0 ? Number.POSITIVE_INFINITY : limitBytes - this.#usedBytes
    const freeBytes = Math.min(limitFreeBytes, this.#diskFreeBytes())
    if (bytes + 2 * segmentBytesMax <= freeBytes) return true
    return leavesSoon && this.#lentBytes === lentBytes && bytes + segmentBytesMax / keptOfCopies <= freeBytes
  }

  /** Bytes copied out of a segment that leaves soon do not count against transactions and deletes, until it has left. */
  lend(bytes: number, segment: { lentBytes: number }): void {
    segment.lentBytes += bytes
    this.#lentBytes += bytes
  }

  /** The segment has left, or stays: nothing is lent for it any more. */
  repay(segment: { lentBytes: number }): void {
    this.#lentBytes -= segment.lentBytes
    segment.lentBytes = 0
  }

  /** Whether so many bytes fit when all else has left. A segment made under another limit may not. */
  canHold(bytes: number): boolean {
    return this.#limits.limitBytes === 0 || bytes <= this.#limits.limitBytes
  }

  /** Before a restore: has what is stored leave until the disk can take a file of this many bytes, or nothing more can leave. */
  async makeDiskRoom(bytes: number): Promise<void> {
    this.#takenSinceLook = Number.POSITIVE_INFINITY
    const shortBytes = bytes + this.#limits.segmentBytesMax - this.#diskFreeBytes()
    if (shortBytes <= 0) return
    this.#shrink(shortBytes)
    await this.evictor.settled()
  }

  /** Waits, in order of arrival, until a restore of this many bytes fits; they count as used then, also before they are there.
   *  @throws CacheFull when nothing made room for it for a while: nothing may ever, if a segment is longer than what is kept for it */
  async takeForRestore(bytes: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiting = { bytes, admit: resolve }
    this.#restores.push(waiting)
    this.#admitRestores()
    if (!this.#restores.includes(waiting)) return promise
    this.evictor.wake()
    const cancel = this.#clock.schedule(restoreWaitMs, () => {
      this.#restores.splice(this.#restores.indexOf(waiting), 1)
      reject(this.#full())
      this.#admitRestores()
    })
    try {
      await promise
    } finally {
      cancel()
    }
  }

  /** A segment was stored, or is for the first time about to be: whoever waits for room waits for something. */
  noteProgress(): void {
    this.#progressMs = this.#clock.monotonicMs()
    this.evictor.wake()
  }

  /** The disk refused an append, whatever the limit says: what is stored leaves.
   *  @returns the error for who met its end */
  diskFull(cause: unknown): CacheFull {
    return this.#shrink(2 * this.#limits.segmentBytesMax, cause)
  }

  /** Has what is stored leave until the disk has these bytes more, and one segment to go on with. */
  #shrink(shortBytes: number, cause?: unknown): CacheFull {
    this.#takenSinceLook = Number.POSITIVE_INFINITY
    // One goal after the other: what was just removed is not free at once.
    if (this.#diskGoalBytes === Number.POSITIVE_INFINITY)
      this.#diskGoalBytes = Math.max(0, this.#usedBytes - shortBytes - this.#limits.segmentBytesMax)
    this.evictor.press()
    return this.#full(cause)
  }

  #full(cause?: unknown): CacheFull {
    const isStoring = this.#clock.monotonicMs() - this.#progressMs < progressWithinMs
    return new CacheFull(isStoring || this.evictor.willMakeRoom ? 'wait' : 'space', cause)
  }

  #admitRestores(): void {
    const { limitBytes } = this.#limits
    for (let next = this.#restores[0]; next !== undefined; next = this.#restores[0]) {
      if (limitBytes > 0 && this.#usedBytes + next.bytes > limitBytes) return
      this.#restores.shift()
      this.#usedBytes += next.bytes
      next.admit()
    }
  }

  #diskFreeBytes(): number {
    if (this.#takenSinceLook >= this.#lookEveryBytes) {
      this.#freeBytes = this.#limits.freeBytes()
      this.#takenSinceLook = 0
    }
    return this.#freeBytes - this.#takenSinceLook
  }
}
