/** Of so many last reads a backend's typical time is the median; of more of them, the time that 95 of 100 stay within. */
const TYPICAL_OF = 8
const TAIL_OF = 32
/** Who left so many reads in a row unanswered for long is taken to be as slow as the last of them: half of the last eight would be
 *  one more wait for each of the frames that are read together. */
const SILENT_FROM = 2
/** From so many reads on there is a tail to speak of. */
const TAIL_FROM = 4
const HEDGE_MIN_MS = 20
const HEDGE_MAX_MS = 1000
/** While nobody is known. */
const HEDGE_UNKNOWN_MS = 200
/** A backend that lags is tried again after this: it may be quick by now. */
const TRY_AGAIN_MS = 5000
/** Spares asked for slowness alone: at most one for ten reads, after so many at once. */
const SPARES_PER_READ = 0.1
const SPARES_MAX = 16

interface Estimate {
  /** The last reads, oldest first. */
  readonly samplesMs: number[]
  lastAskedMs: number
  /** Given up late, since the last answer. */
  silentCount: number
}

/** How long each backend takes to answer a read, by those of late; from that, whom to ask first and when to ask one more. */
export class ReadLatencies {
  readonly #estimates = new Map<string, Estimate>()
  #spares = SPARES_MAX

  /** @param nowMs monotonic, as everywhere here */
  asked(backend: string, nowMs: number): void {
    this.#of(backend).lastAskedMs = nowMs
    this.#spares = Math.min(SPARES_MAX, this.#spares + SPARES_PER_READ)
  }

  answered(backend: string, tookMs: number): void {
    const estimate = this.#of(backend)
    estimate.silentCount = 0
    addSample(estimate, tookMs)
  }

  /** Nobody waits for this answer any more. */
  abandoned(backend: string, waitedMs: number): void {
    // One that was not waited for as long as usual tells nothing; else it is taken to be halfway.
    if (waitedMs <= (this.#medianMs(backend) ?? HEDGE_MIN_MS)) return
    const estimate = this.#of(backend)
    estimate.silentCount++
    addSample(estimate, 2 * waitedMs)
  }

  /** Null: not known yet. */
  typicalMs(backend: string): number | null {
    const medianMs = this.#medianMs(backend)
    const { silentCount = 0, samplesMs = [] } = this.#estimates.get(backend) ?? {}
    return medianMs === null || silentCount < SILENT_FROM ? medianMs : Math.max(medianMs, samplesMs.at(-1)!)
  }

  #medianMs(backend: string): number | null {
    const lastMs = this.#estimates.get(backend)?.samplesMs.slice(-TYPICAL_OF) ?? []
    return lastMs.length === 0 ? null : quantile(lastMs, 0.5)
  }

  /** Those of `backends` that are clearly slower than half of those that are known, and what they typically take. One that
   *  was not asked for a while is not among them, so that it is measured again.
   *  @returns typical times by name */
  laggards(backends: readonly string[], nowMs: number): Map<string, number> {
    const lagging = this.#lagging(backends, knownCount => Math.ceil(knownCount / 2))
    return new Map([...lagging].filter(([name]) => nowMs - this.#of(name).lastAskedMs < TRY_AGAIN_MS))
  }

  /** How long after asking `chosen` a spare is worth its traffic: the tail of the slowest, those aside that lag behind as
   *  many of `all`. */
  spareAfterMs(chosen: readonly string[], all: readonly string[]): number {
    if (this.#spares < 1) return HEDGE_MAX_MS
    const lagging = this.#lagging(all, () => chosen.length)
    const tailsMs = chosen.filter(name => !lagging.has(name)).flatMap(name => this.#tailMs(name) ?? [])
    if (tailsMs.length === 0) return HEDGE_UNKNOWN_MS
    return Math.min(HEDGE_MAX_MS, Math.max(HEDGE_MIN_MS, ...tailsMs))
  }

  spareAsked(): void {
    this.#spares = Math.max(0, this.#spares - 1)
  }

  /** @param rankOf place of the one to compare with, the quickest being 1 */
  #lagging(backends: readonly string[], rankOf: (knownCount: number) => number): Map<string, number> {
    const known = new Map(
      backends.flatMap(name => {
        const typicalMs = this.typicalMs(name)
        return typicalMs === null ? [] : [[name, typicalMs] as const]
      }),
    )
    const rank = rankOf(known.size)
    const yardstickMs = [...known.values()].sort((a, b) => a - b)[rank - 1] ?? Number.POSITIVE_INFINITY
    return new Map([...known].filter(([, typicalMs]) => typicalMs > yardstickMs * 1.5 + 5))
  }

  #tailMs(backend: string): number | null {
    const samplesMs = this.#estimates.get(backend)?.samplesMs ?? []
    return samplesMs.length < TAIL_FROM ? null : quantile(samplesMs, 0.95)
  }

  #of(backend: string): Estimate {
    let estimate = this.#estimates.get(backend)
    if (estimate === undefined) {
      estimate = { samplesMs: [], lastAskedMs: Number.NEGATIVE_INFINITY, silentCount: 0 }
      this.#estimates.set(backend, estimate)
    }
    return estimate
  }
}

function addSample({ samplesMs }: Estimate, tookMs: number): void {
  samplesMs.push(tookMs)
  if (samplesMs.length > TAIL_OF) samplesMs.shift()
}

function quantile(values: readonly number[], part: number): number {
  return [...values].sort((a, b) => a - b)[Math.ceil(values.length * part) - 1]!
}
