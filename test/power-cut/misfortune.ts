import type { Clock } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'
import type { Prng } from '@qsfs/testkit/prng'
import { createNamespaces } from '../../apps/fs/src/store/cachedb-session.ts'
import { CachedbStore } from '../../apps/fs/src/store/cachedb-store.ts'
import { impatientClock } from '../../apps/fs/test/impatient-clock.ts'
import { quietLog } from './quiet-log.ts'
import { SimulatedCachedb } from './simulated-cachedb.ts'

const names = { data: 'data', meta: 'meta' }

/** The whole machine lost its power. */
class PowerFailed extends FuseError {}

/** A cachedb to which something happens at a random operation on its disk: the power fails under it and the filesystem,
 *  or under it alone, or it is killed. */
export class Misfortune implements AsyncDisposable {
  readonly server: SimulatedCachedb
  readonly #prng: Prng
  readonly #onlyAtOperation: number | null
  #operationsLeft: number
  /** Whether anything happened yet. */
  hasStruck = false
  #store: CachedbStore | null = null
  #isAlive = { value: true }
  #isOver = false

  /** @param onlyAtOperation the power of everything fails once, at this operation; without it things happen at random */
  constructor(prng: Prng, segmentBytesMax: number, onlyAtOperation: number | null = null) {
    this.#prng = prng
    this.#onlyAtOperation = onlyAtOperation
    this.#operationsLeft = onlyAtOperation ?? Number.POSITIVE_INFINITY
    this.server = new SimulatedCachedb(prng, segmentBytesMax)
    this.server.onOperation = () => {
      if (--this.#operationsLeft < 0) this.#strike()
    }
  }

  /** The store as a fresh filesystem process opens it. */
  async open(): Promise<CachedbStore> {
    if (this.#isOver) throw new Error('the history is over')
    this.server.downFor = null
    this.#isAlive = { value: true }
    if (this.#onlyAtOperation === null) {
      this.#operationsLeft = this.#prng.chance(0.8) ? this.#prng.below(200) : Number.POSITIVE_INFINITY
    }
    await createNamespaces(this.server.connect, names)
    const random = (bytes: number) => this.#prng.bytes(bytes)
    this.#store = await CachedbStore.open(this.server.connect, names, this.clock, random, quietLog)
    return this.#store
  }

  /** Time as the filesystem process of this life sees it: with the process its timers are gone. */
  get clock(): Clock {
    const life = this.#isAlive
    const schedule: Clock['schedule'] = (delayMs, action) =>
      impatientClock.schedule(delayMs, () => {
        if (life.value) action()
      })
    return { ...impatientClock, schedule }
  }

  /** The filesystem process dies, and perhaps more than that. */
  async crash(): Promise<void> {
    if (this.#onlyAtOperation === null) this.#operationsLeft = Number.POSITIVE_INFINITY
    this.#isAlive.value = false
    this.server.dropConnections()
    await this.#store?.[Symbol.asyncDispose]()
    this.#store = null
    if (this.#prng.chance(0.5)) this.server.die(this.#prng.pick(['kill', 'power cut']))
  }

  /** Nothing of it goes on in the process of the test, not even a history that was stuck and sees a crash now. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true
    await this.crash()
  }

  /** How a death shows: in the store that cannot connect again, or in a connection that is just being made. */
  isCrash(error: unknown): boolean {
    for (let cause = error; cause instanceof Error; cause = cause.cause) {
      if (cause instanceof PowerFailed || cause.name === 'ConnectionLost') return true
      if (cause.message.includes('the store is closed')) return true
    }
    return false
  }

  #strike(): void {
    this.hasStruck = true
    this.#operationsLeft = this.#onlyAtOperation === null ? this.#prng.below(80) : Number.POSITIVE_INFINITY
    const choice = this.#onlyAtOperation === null ? this.#prng.below(3) : 0
    if (choice === 0) this.server.downFor = new PowerFailed('EIO', 'the power failed')
    this.server.die(choice === 2 ? 'kill' : 'power cut')
  }
}
