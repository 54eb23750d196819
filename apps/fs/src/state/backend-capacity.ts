import type { Clock } from '@qsfs/concurrency/clock'
import { askControl } from '@qsfs/daemon/control'
import type { PlanResult, StatusResult } from '@qsfs/protocol/stor-control'

/** What the backends have changes slowly, and stor itself asks them now and then. */
const freshMs = 10_000
/** `df` waits so long for the first answer, and for no other. */
const answerWithinMs = 2000

interface Answer {
  /** Plain bytes that fit in; null: a backend does not say. */
  readonly freeBytes: number | null
  /** A backend is on this machine, so it takes from the same disk. */
  readonly isHere: boolean
  /** Plain bytes for each byte stored there. */
  readonly rate: number
}

/** How much more the backends take, as stor knows it. */
export class BackendCapacity {
  readonly #storSocket: string
  readonly #clock: Clock
  #latest: Answer | null = null
  #askedMs = Number.NEGATIVE_INFINITY

  constructor(storSocket: string, clock: Clock) {
    this.#storSocket = storSocket
    this.#clock = clock
  }

  /** Plain bytes that can still be stored; the disk's own when nobody says.
   *  @param diskFreeBytes of the disk on which segments are written first */
  async freeBytes(diskFreeBytes: number): Promise<number> {
    if (this.#clock.monotonicMs() - this.#askedMs >= freshMs) {
      this.#askedMs = this.#clock.monotonicMs()
      const asking = this.#ask()
      if (this.#latest === null) await asking
    }
    if (this.#latest === null) return diskFreeBytes
    const { freeBytes, isHere, rate } = this.#latest
    // Segments leave the disk for the backends, so it limits only what is stored on it.
    const here = isHere ? diskFreeBytes * rate : Number.POSITIVE_INFINITY
    return Math.floor(Math.min(freeBytes ?? diskFreeBytes, here))
  }

  /** A stor that does not answer leaves what was known. */
  async #ask(): Promise<void> {
    const options = { signal: AbortSignal.timeout(answerWithinMs) }
    const asked = await Promise.allSettled([
      askControl(this.#storSocket, 'plan', {}, options),
      askControl(this.#storSocket, 'status', {}, options),
    ])
    const [plan, status] = asked.map(answer => (answer.status === 'fulfilled' ? answer.value : null))
    if (!plan || !status) return
    const { capacityBytes, k, n } = plan as PlanResult
    const isHere = (status as StatusResult).backends.some(
      ({ use, address }) => use === 'data' && /^(unix|dir):/.test(address),
    )
    this.#latest = { freeBytes: capacityBytes, isHere, rate: k / n }
  }
}
