import type { Clock } from '@qsfs/concurrency/clock'
import { CacheFull } from '../../errors.ts'
import { Evictor } from './eviction.ts'

/** A full cache whose stores made progress this lately is worth waiting for. */
const progressWithinMs = 30_000
/** How many bytes are taken between two looks at the disk's free space. */
const lookEveryBytes = 8 * 1024 * 1024
/** Beside `meta`: one segment for transactions and deletes, one for restores, and four to work in. */
const segmentsMin = 6

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
  #takenSinceLook: number = lookEveryBytes
  #progressMs = Number.NEGATIVE_INFINITY

  constructor(clock: Clock, limits: RoomLimits) {
    this.#clock = clock
    this.#limits = limits
    this.evictor = new Evictor(this, clock)
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get limitBytes(): number {
    return this.#limits.limitBytes
  }

  /** Bytes by which eviction should shrink the cache now: it begins one segment before data must wait, or for a restore. */
  get excessBytes(): number {
    const { limitBytes, segmentBytesMax } = this.#limits
    if (limitBytes === 0) return 0
    const forRestore = this.#restores.length > 0 ? this.#usedBytes + this.#restores[0]!.bytes - limitBytes : 0
    return Math.max(0, forRestore, this.#usedBytes - (limitBytes - 3 * segmentBytesMax))
  }

  /** @throws RangeError with the limit to set, when this one is too small beside `pinnedBytes` of pinned namespaces */
  assertLimit(pinnedBytes: number): void {
    const { limitBytes, segmentBytesMax } = this.#limits
    const needed = pinnedBytes + segmentsMin * segmentBytesMax
    if (limitBytes > 0 && limitBytes < needed) {
      throw new RangeError(
        `cache_bytes is ${limitBytes}, too small beside ${pinnedBytes} bytes of pinned namespaces: set at least ${needed}`,
      )
    }
  }

  /** Takes room before an append.
   *  @throws CacheFull */
  take(bytes: number, roomClass: RoomClass): void {
    const { limitBytes, segmentBytesMax } = this.#limits
    const keptBytes = roomClass === 'data' ? 2 * segmentBytesMax : segmentBytesMax
    const full = limitBytes > 0 && this.#usedBytes + bytes > limitBytes - keptBytes
    if (full || this.#diskFreeBytes() < bytes + keptBytes) {
      this.#takenSinceLook = lookEveryBytes
      this.evictor.press()
      throw this.full()
    }
    this.#takenSinceLook += bytes
    this.add(bytes)
  }

  /** Counts bytes that are there. */
  add(bytes: number): void {
    this.#usedBytes += bytes
    if (this.excessBytes > 0) this.evictor.press()
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes
    this.#takenSinceLook = lookEveryBytes
    this.#admitRestores()
  }

  /** Whether so many bytes fit when all else has left. A segment made under another limit may not. */
  canHold(bytes: number): boolean {
    return this.#limits.limitBytes === 0 || bytes <= this.#limits.limitBytes
  }

  /** Waits, in order of arrival, until a restore of this many bytes fits; they count as used then, also before they are there. */
  takeForRestore(bytes: number): Promise<void> {
    return new Promise(admit => {
      this.#restores.push({ bytes, admit })
      this.#admitRestores()
      if (this.#restores.length > 0) this.evictor.wake()
    })
  }

  /** A segment was stored, or is for the first time about to be: whoever waits for room waits for something. */
  noteProgress(): void {
    this.#progressMs = this.#clock.monotonicMs()
    this.evictor.wake()
  }

  /** The error for who finds no room now. */
  full(cause?: unknown): CacheFull {
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
    if (this.#takenSinceLook >= lookEveryBytes) {
      this.#freeBytes = this.#limits.freeBytes()
      this.#takenSinceLook = 0
    }
    return this.#freeBytes - this.#takenSinceLook
  }
}
