import type { Clock } from '@qsfs/concurrency/clock'
import { StorageError } from '../../segment/storage.ts'
import type { Room } from './room.ts'
import type { Segment } from './segment.ts'
import type { Shelf } from './shelf.ts'

/** When a pinned segment keeps eviction from reaching its goal, it looks again this much later. */
const lookAgainMs = 200

/** Keeps the local data segments of all namespaces under the limit: stored ones leave, the least recently read first. */
export class Evictor {
  readonly #room: Room
  readonly #clock: Clock
  readonly #shelves = new Set<Shelf>()
  /** null while nothing leaves. */
  #running: Promise<void> | null = null
  #lookingAgain = false

  constructor(room: Room, clock: Clock) {
    this.#room = room
    this.#clock = clock
  }

  add(shelf: Shelf): void {
    this.#shelves.add(shelf)
  }

  remove(shelf: Shelf): void {
    this.#shelves.delete(shelf)
  }

  /** The cache grew. Called for each append, so that a search that just found nothing is not repeated at once. */
  press(): void {
    if (!this.#lookingAgain) this.wake()
  }

  /** There may be something to evict that was not there before, or somebody waits for it. */
  wake(): void {
    if (this.#running !== null || this.#room.excessBytes === 0) return
    // Not at once: whoever just took room may be in the middle of a change, like a flush whose segments the manifest already calls gone.
    const turn = Promise.resolve()
    this.#running = turn
      .then(() => this.#run())
      .finally(() => {
        this.#running = null
        this.#lookAgain()
      })
  }

  /** Settles when as much has left as should, or as can now. */
  async settled(): Promise<void> {
    this.wake()
    await this.#running
  }

  /** Whether something leaves by itself that may take the cache below its goal: at once, or when who reads it is done. */
  get willMakeRoom(): boolean {
    if (this.#room.excessBytes === 0) return false
    for (const shelf of this.#shelves) if (shelf.holdsStored) return true
    return false
  }

  async #run(): Promise<void> {
    while (this.#room.excessBytes > 0) {
      const chosen = this.#leastRecentlyRead()
      if (chosen === null) return
      const [shelf, segment] = chosen
      try {
        await shelf.giveUpFile(segment, 'evicted')
      } catch (error) {
        // Its namespace was closed meanwhile: nothing of it counts any more.
        if (shelf.signal.aborted) continue
        if (!(error instanceof StorageError)) throw error
        if (segment.isNews('segment.not_evicted'))
          shelf.context.log.error('segment.not_evicted', { directory: shelf.directory, segmentId: segment.id, error })
        return
      }
      shelf.settled(segment)
    }
  }

  #leastRecentlyRead(): readonly [Shelf, Segment] | null {
    let chosen: readonly [Shelf, Segment] | null = null
    for (const shelf of this.#shelves) {
      for (const segment of shelf.evictable())
        if (chosen === null || segment.lastReadMs < chosen[1].lastReadMs) chosen = [shelf, segment]
    }
    return chosen
  }

  /** Pins end by time and by readers leaving, which nobody announces. */
  #lookAgain(): void {
    if (this.#lookingAgain || this.#room.excessBytes === 0) return
    this.#lookingAgain = true
    this.#clock.schedule(lookAgainMs, () => {
      this.#lookingAgain = false
      this.press()
    })
  }
}
