import { Backoff } from '@qsfs/concurrency/backoff'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'

/** An object that needs work, and why it waits. */
export interface RepairItem {
  readonly objectId: string
  /** How many more locations it survives, as far as is known. */
  margin: number
  /** Shards that are to be read to know whether they are good. */
  readonly suspects: Set<number>
  /** '' as long as nothing hinders it. */
  why: string
  /** Monotonic; not taken before. */
  notBeforeMs: number
  readonly backoff: Backoff
}

export interface QueueLimits {
  /** Objects; more are left to the next survey. */
  readonly itemsMax: number
  /** The first pause after a failure, and the longest. */
  readonly firstMs: number
  readonly maxMs: number
}

/** Objects to repair, thinnest margin first; among equals, who came first. One that fails waits, with growing pauses, and
 *  nobody waits behind it. */
export class RepairQueue {
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #limits: QueueLimits
  /** By margin; each in the order of arrival. */
  readonly #waiting = new Map<number, Map<string, RepairItem>>()
  readonly #items = new Map<string, RepairItem>()
  readonly #running = new Set<string>()
  #refusedCount = 0
  #doneCount = 0

  constructor(clock: Clock, random: RandomSource, limits: QueueLimits) {
    this.#clock = clock
    this.#random = random
    this.#limits = limits
  }

  get size(): number {
    return this.#items.size
  }

  /** Done since it was empty last: so far it has come, of these and those that are left. */
  get doneCount(): number {
    return this.#doneCount
  }

  get runningCount(): number {
    return this.#running.size
  }

  /** Failed at their last attempt: what hinders them may last. */
  get hinderedCount(): number {
    return [...this.#items.values()].filter(({ why, objectId }) => why !== '' && !this.#running.has(objectId)).length
  }

  /** Not taken in since the start, the queue being full. */
  get refusedCount(): number {
    return this.#refusedCount
  }

  get thinnestMargin(): number | null {
    return this.#items.size === 0 ? null : Math.min(...new Set([...this.#items.values()].map(({ margin }) => margin)))
  }

  /** Why objects wait, and how many for each reason. */
  get reasons(): { readonly reason: string; readonly count: number }[] {
    const counts = new Map<string, number>()
    for (const { why, objectId } of this.#items.values()) {
      const reason = why !== '' ? why : this.#running.has(objectId) ? 'being repaired' : 'waits for its turn'
      counts.set(reason, (counts.get(reason) ?? 0) + 1)
    }
    return [...counts].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count)
  }

  /** Adds an object, or what is newly known of one that waits. One that is being repaired is looked at again after.
   *  @returns whether anything of it is news */
  add(objectId: string, margin: number, suspects: Iterable<number> = []): boolean {
    const known = this.#items.get(objectId)
    if (known === undefined && this.#items.size >= this.#limits.itemsMax) {
      this.#refusedCount++
      return false
    }
    if (this.#items.size === 0) this.#doneCount = 0
    const { firstMs, maxMs } = this.#limits
    const backoff = known?.backoff ?? new Backoff({ firstMs, maxMs, random: this.#random })
    const item = known ?? { objectId, margin, suspects: new Set<number>(), why: '', notBeforeMs: 0, backoff }
    const suspectCount = item.suspects.size
    for (const index of suspects) item.suspects.add(index)
    this.#place(item, known === undefined ? margin : Math.min(known.margin, margin))
    return known === undefined || item.suspects.size > suspectCount
  }

  /** The next object whose time has come, to be given back by `done` or `failed`. */
  take(): { readonly objectId: string; readonly margin: number; readonly suspects: ReadonlySet<number> } | null {
    const nowMs = this.#clock.monotonicMs()
    for (const margin of [...this.#waiting.keys()].sort((a, b) => a - b)) {
      for (const item of this.#waiting.get(margin)!.values()) {
        if (item.notBeforeMs > nowMs || this.#running.has(item.objectId)) continue
        this.#running.add(item.objectId)
        const suspects = new Set(item.suspects)
        // What is reported from now on is news.
        item.suspects.clear()
        return { objectId: item.objectId, margin, suspects }
      }
    }
    return null
  }

  /** Nothing is left to do for it, unless more was reported meanwhile. */
  done(objectId: string): void {
    this.#running.delete(objectId)
    const item = this.#items.get(objectId)
    if (item === undefined) return
    item.why = ''
    item.notBeforeMs = 0
    item.backoff.reset()
    if (item.suspects.size === 0) this.forget(objectId)
  }

  /** It waits now; `suspects` are still to be read. */
  failed(objectId: string, why: string, suspects: Iterable<number>): void {
    this.#running.delete(objectId)
    const item = this.#items.get(objectId)
    if (item === undefined) return
    for (const index of suspects) item.suspects.add(index)
    item.why = why
    item.notBeforeMs = this.#clock.monotonicMs() + item.backoff.next()
  }

  /** The object is deleted. */
  forget(objectId: string): void {
    const item = this.#items.get(objectId)
    if (item !== undefined) this.#waiting.get(item.margin)?.delete(objectId)
    if (this.#items.delete(objectId)) this.#doneCount++
  }

  /** A backend is back: whoever waits is tried again now. */
  hasten(): void {
    for (const item of this.#items.values()) item.notBeforeMs = 0
  }

  #place(item: RepairItem, margin: number): void {
    const isPlaced = this.#items.has(item.objectId)
    if (isPlaced && item.margin === margin) return
    if (isPlaced) this.#waiting.get(item.margin)?.delete(item.objectId)
    item.margin = margin
    this.#items.set(item.objectId, item)
    const equals = this.#waiting.get(margin) ?? new Map<string, RepairItem>()
    this.#waiting.set(margin, equals.set(item.objectId, item))
  }
}
