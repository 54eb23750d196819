import type { Clock } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import { CommandError } from '../errors.ts'
import { FileHeader } from '../segment/format.ts'
import { StorageError } from '../segment/storage.ts'
import type { Namespace } from './namespace.ts'

/** Looked at so often within the time, so that none is closed much later than told. */
const looksPerTime = 20
const lookEveryMsMin = 100

/** Closes segments that have been open for long and hold something, so that it leaves for the store: 0-db's `--rotate`. */
export class Rotation implements Disposable {
  readonly #clock: Clock
  readonly #log: Log
  readonly #afterMs: number
  readonly #namespaces: () => readonly Namespace[]
  /** Since when this segment of a namespace has been the open one; the first look at it counts. */
  #openSince = new Map<Namespace, { readonly segmentId: number; readonly sinceMs: number }>()
  #cancel: () => void = () => {}

  /** @param afterMs how long a segment may be open
   *  @param namespaces those that are served now */
  constructor(clock: Clock, log: Log, afterMs: number, namespaces: () => readonly Namespace[]) {
    this.#clock = clock
    this.#log = log
    this.#afterMs = afterMs
    this.#namespaces = namespaces
    this.#look()
  }

  [Symbol.dispose](): void {
    this.#cancel()
  }

  #look(): void {
    const before = this.#openSince
    this.#openSince = new Map()
    for (const namespace of this.#namespaces()) {
      if (namespace.isClosed) continue
      const nowMs = this.#clock.monotonicMs()
      const { activeSegmentId: segmentId, activeBytes } = namespace.info()
      const known = before.get(namespace)
      const open = known?.segmentId === segmentId ? known : { segmentId, sinceMs: nowMs }
      this.#openSince.set(namespace, open)
      const isOld = nowMs - open.sinceMs >= this.#afterMs
      if (isOld && activeBytes > FileHeader.sizeBytes) this.#rotate(namespace)
    }
    this.#cancel = this.#clock.schedule(Math.max(lookEveryMsMin, this.#afterMs / looksPerTime), () => this.#look())
  }

  /** What does not go now is tried at the next look. */
  #rotate(namespace: Namespace): void {
    try {
      namespace.jump()
    } catch (error) {
      if (!(error instanceof StorageError || error instanceof CommandError)) throw error
      this.#log.warn('segment.not_rotated', { namespace: namespace.name, reason: error.message })
    }
  }
}
