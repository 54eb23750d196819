import type { RandomSource } from './clock.ts'

export interface BackoffLimits {
  readonly firstMs: number
  readonly maxMs: number
  readonly random: RandomSource
}

/** Growing pauses between attempts: each doubles the last up to `maxMs`, and is drawn from its upper half,
 *  so that many who failed together do not come back together. */
export class Backoff {
  readonly #limits: BackoffLimits
  #ceilingMs: number

  constructor(limits: BackoffLimits) {
    this.#limits = limits
    this.#ceilingMs = limits.firstMs
  }

  /** The next pause in milliseconds. */
  next(): number {
    const ceilingMs = this.#ceilingMs
    this.#ceilingMs = Math.min(ceilingMs * 2, this.#limits.maxMs)
    const fraction = this.#limits.random(4).readUInt32LE(0) / 0x1_0000_0000
    return ceilingMs * (0.5 + fraction / 2)
  }

  /** After a success: the next pause is short again. */
  reset(): void {
    this.#ceilingMs = this.#limits.firstMs
  }
}
