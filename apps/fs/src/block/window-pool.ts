import type { WindowMemory } from './dirty-window.ts'
import { windowBytes } from './extents.ts'

/** What the pool has to know of the store: bytes handed to it stay its own until a sync covered them. */
export interface StorePosition {
  readonly answered: number
  readonly synced: number
}

interface Resting {
  readonly bytes: Buffer
  /** Free for use once the store has synced up to here. */
  readonly position: number
}

/** Memory for windows, used again and again: a fresh 128 KiB buffer per window costs more than filling it. */
export class WindowPool implements WindowMemory {
  readonly #store: StorePosition
  readonly #restingMax: number
  readonly #resting: Resting[] = []
  #takenBytes = 0

  constructor(store: StorePosition, limits: { restingBytesMax: number }) {
    this.#store = store
    this.#restingMax = Math.ceil(limits.restingBytesMax / windowBytes)
  }

  get takenBytes(): number {
    return this.#takenBytes
  }

  take(sizeBytes: number): Buffer {
    this.#takenBytes += sizeBytes
    const first = sizeBytes === windowBytes ? this.#resting[0] : undefined
    if (first === undefined || first.position > this.#store.synced) return Buffer.allocUnsafeSlow(sizeBytes)
    this.#resting.shift()
    return first.bytes
  }

  release(bytes: Buffer): void {
    this.#takenBytes -= bytes.length
    if (bytes.length !== windowBytes || this.#resting.length >= this.#restingMax) return
    this.#resting.push({ bytes, position: this.#store.answered })
  }
}
