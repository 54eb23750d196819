import type { Clock } from '@qsfs/concurrency/clock'
import { SingleFlight } from '@qsfs/concurrency/single-flight'
import { ConnectionLost } from '@qsfs/resp/client'
import type { Capacity } from '../ops/filesystem.ts'
import type { Connect, Connection } from '../store/cachedb-session.ts'
import type { BackendCapacity } from './backend-capacity.ts'

/** statfs is asked by every `df` and by many installers: an answer serves for this long. */
const freshMs = 1000

/** Room on the server's disk and beyond, asked for on a connection of its own: `df` never waits behind blocks. */
export class ServerCapacity implements AsyncDisposable {
  readonly #connect: Connect
  readonly #namespace: string
  readonly #clock: Clock
  readonly #backends: BackendCapacity | null
  readonly #asking = new SingleFlight<string, Capacity | null>()
  #connection: Connection | null = null
  #latest: Capacity | null = null
  #latestMs = Number.NEGATIVE_INFINITY

  /** @param backends null: segments stay on the server's disk */
  constructor(connect: Connect, namespace: string, clock: Clock, backends: BackendCapacity | null = null) {
    this.#backends = backends
    this.#connect = connect
    this.#namespace = namespace
    this.#clock = clock
  }

  /** The last known answer when the server cannot be asked now: `df` works while it restarts. */
  get(): Capacity | null | Promise<Capacity | null> {
    if (this.#clock.monotonicMs() - this.#latestMs < freshMs) return this.#latest
    return this.#asking.run('capacity', () => this.#ask())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection?.[Symbol.asyncDispose]()
  }

  async #ask(): Promise<Capacity | null> {
    try {
      this.#connection ??= await this.#connect({})
      const here = parse(String(await this.#connection.call('NSINFO', this.#namespace)))
      this.#latest = here === null || this.#backends === null ? here : await this.#withBackends(here, this.#backends)
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error
      await this.#connection?.[Symbol.asyncDispose]()
      this.#connection = null
    }
    this.#latestMs = this.#clock.monotonicMs()
    return this.#latest
  }

  async #withBackends({ totalBytes, freeBytes: hereBytes }: Capacity, backends: BackendCapacity): Promise<Capacity> {
    const freeBytes = await backends.freeBytes(hereBytes)
    return { totalBytes: totalBytes - hereBytes + freeBytes, freeBytes }
  }
}

/** 0-db's fields: live bytes, the namespace's limit (0: none), and what is free on the disk it lies on. */
export function parse(info: string): Capacity | null {
  const field = (name: string) => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(info)?.[1] ?? Number.NaN)
  const usedBytes = field('data_size_bytes')
  const limitBytes = field('data_limits_bytes')
  const diskFreeBytes = field('data_disk_freespace_bytes')
  if (Number.isNaN(usedBytes) || Number.isNaN(diskFreeBytes)) return null
  const freeBytes = limitBytes > 0 ? Math.min(diskFreeBytes, Math.max(0, limitBytes - usedBytes)) : diskFreeBytes
  return { totalBytes: usedBytes + freeBytes, freeBytes }
}
