import type { Fleet } from '../backend/fleet.ts'
import type { BackendView } from './diagnosis.ts'

type WatchedFleet = Pick<Fleet, 'data' | 'backend' | 'isDown' | 'isGivenUp' | 'isDraining' | 'observeData'>

/** What the monitor shows of data backends, and what of it makes all records to be looked through: one that holds nothing
 *  (a new one, or its disk was exchanged), or not half of what it held a moment ago (so too, and somebody has stored
 *  something since), one that was given up, one that came back after that. */
export class BackendNews implements BackendView {
  readonly #fleet: WatchedFleet
  /** Seen emptied, and not full again since. */
  readonly #empty = new Set<string>()
  /** How many values each held when it was asked last. */
  readonly #valueCounts = new Map<string, number>()
  /** When each that was empty was given a shard, monotonic: a check from before says nothing of it. */
  readonly #filledAtMs = new Map<string, number>()
  readonly #givenUp = new Set<string>()
  /** Something of these was not looked for in the records yet. */
  readonly #news = new Set<string>()

  constructor(fleet: WatchedFleet) {
    this.#fleet = fleet
  }

  /** Takes in the monitor's last checks. @returns the backends for whose sake all records are to be looked through */
  look(): ReadonlySet<string> {
    for (const { backend } of this.#fleet.data) {
      const { name } = backend
      const isGivenUp = this.#fleet.isGivenUp(name)
      if (isGivenUp !== this.#givenUp.has(name)) {
        if (isGivenUp) this.#givenUp.add(name)
        else this.#givenUp.delete(name)
        this.#news.add(name)
      }
      const { reachable, stat, statAtMs } = this.#fleet.observeData(name)
      if (!reachable || stat === null || statAtMs <= (this.#filledAtMs.get(name) ?? -1)) continue
      const { valueCount } = stat
      const hasFallen = valueCount * 2 < (this.#valueCounts.get(name) ?? 0)
      this.#valueCounts.set(name, valueCount)
      if (valueCount > 0 && !hasFallen) {
        if (!this.#news.has(name)) this.#empty.delete(name)
      } else if (!this.#empty.has(name)) {
        this.#empty.add(name)
        this.#news.add(name)
      }
    }
    return new Set(this.#news)
  }

  /** All objects that have to do with these are in the queue now. */
  surveyed(news: ReadonlySet<string>): void {
    for (const name of news) this.#news.delete(name)
  }

  /** These hold something from now on: when they are seen to hold nothing, though they did so before, it is news again. */
  filled(backends: Iterable<string>, nowMs: number): void {
    for (const name of backends) {
      if (!this.#empty.has(name) || this.#news.has(name)) continue
      this.#empty.delete(name)
      this.#filledAtMs.set(name, nowMs)
    }
  }

  isKnown(backend: string): boolean {
    return this.#fleet.backend(backend) !== undefined
  }

  isDown(backend: string): boolean {
    return this.#fleet.isDown(backend)
  }

  isGivenUp(backend: string): boolean {
    return this.#fleet.isGivenUp(backend)
  }

  isDraining(backend: string): boolean {
    return this.#fleet.isDraining(backend)
  }

  wasEmptied(backend: string): boolean {
    return this.#empty.has(backend)
  }
}
