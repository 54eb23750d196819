import type { Fleet } from '../backend/fleet.ts'
import type { BackendView } from './diagnosis.ts'

/** Watches for data backends that hold nothing: new ones, and those whose disk was exchanged. What records say of them is
 *  to be read again before it is believed; on a new one nothing is found to be missing. */
export class EmptiedBackends implements BackendView {
  readonly #fleet: Fleet
  /** Seen empty, and not full again since. */
  readonly #empty = new Set<string>()
  /** Of those: records were not looked through yet. */
  readonly #news = new Set<string>()

  constructor(fleet: Fleet) {
    this.#fleet = fleet
  }

  /** Takes in the monitor's last checks. @returns whether all records are to be looked through */
  look(): boolean {
    for (const { backend } of this.#fleet.data) {
      const { reachable, stat } = this.#fleet.observeData(backend.name)
      if (!reachable || stat === null) continue
      if (stat.valueCount > 0) {
        if (!this.#news.has(backend.name)) this.#empty.delete(backend.name)
      } else if (!this.#empty.has(backend.name)) {
        this.#empty.add(backend.name)
        this.#news.add(backend.name)
      }
    }
    return this.#news.size > 0
  }

  /** All objects with a shard on an emptied backend are in the queue now. */
  surveyed(): void {
    this.#news.clear()
  }

  isKnown(backend: string): boolean {
    return this.#fleet.backend(backend) !== undefined
  }

  isDown(backend: string): boolean {
    return this.#fleet.isDown(backend)
  }

  isDraining(backend: string): boolean {
    return this.#fleet.isDraining(backend)
  }

  wasEmptied(backend: string): boolean {
    return this.#empty.has(backend)
  }
}
