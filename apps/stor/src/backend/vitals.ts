import { MiB } from '@qsfs/bytes/units'
import type { Clock } from '@qsfs/concurrency/clock'
import type { StorError } from '../errors.ts'
import type { BackendStat } from './backend.ts'
import type { HealthState } from './patient.ts'

export interface Failure {
  readonly text: string
  /** Milliseconds since 1970. */
  readonly atMs: number
}

/** A backend that refused bytes for want of room is asked again after so long, though it tells of no more room. */
const REFUSES_FOR_MS = 60_000
/** By so much its free space must have grown for it to be asked before. */
const ROOM_MADE_BYTES = MiB

/** What requests to one backend came to, checks among them: how many failed, how the last one, and whether it takes bytes. */
export class Vitals {
  readonly #clock: Clock
  #errorCount = 0
  #lastError: Failure | null = null
  /** Monotonic, of the last refusal. */
  #refusedAtMs: number | null = null
  /** What it said first after it. */
  #freeBytes: number | null = null
  #isDown = false
  /** Requests under way; each is told when the backend is called down. */
  readonly #waiting = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Failed requests since the start; an answer that something is not there is none. */
  get errorCount(): number {
    return this.#errorCount
  }

  get lastError(): Failure | null {
    return this.#lastError
  }

  failed({ reason, message }: StorError): void {
    if (reason === 'missing') return
    this.#errorCount++
    this.#lastError = { text: message, atMs: Math.floor(this.#clock.nowMs()) }
    if (reason !== 'full') return
    this.#refusedAtMs = this.#clock.monotonicMs()
    this.#freeBytes = null
  }

  /** @param stat of a check that was asked at this time, monotonic */
  checked({ freeBytes }: BackendStat, askedMs: number): void {
    if (this.#refusedAtMs === null || freeBytes === null || askedMs < this.#refusedAtMs) return
    this.#freeBytes ??= freeBytes
    if (freeBytes > this.#freeBytes + ROOM_MADE_BYTES) this.#refusedAtMs = null
  }

  /** The monitor's word. */
  called(state: HealthState): void {
    this.#isDown = state === 'down'
    if (this.#isDown) for (const giveUp of this.#waiting) giveUp()
  }

  get isDown(): boolean {
    return this.#isDown
  }

  /** @param onDown called when the backend is called down from now on
   *  @returns ends that */
  whenDown(onDown: () => void): () => void {
    this.#waiting.add(onDown)
    return () => this.#waiting.delete(onDown)
  }

  /** It said that it is full, and has not said since that there is more room. */
  get refuses(): boolean {
    return this.#refusedAtMs !== null && this.#clock.monotonicMs() - this.#refusedAtMs < REFUSES_FOR_MS
  }
}
