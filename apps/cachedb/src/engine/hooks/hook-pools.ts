import { type Permit, Semaphore } from '@qsfs/concurrency/semaphore'
import { HookEvent } from '@qsfs/protocol/hook-events'
import { HookFailed, HookWithdrawn } from './hooks.ts'

/** What shares a limit of hooks at once and a time that one may take. */
export type HookPool = 'start' | 'end' | 'store' | 'retrieve' | 'delete' | 'point' | 'notify'

/** Everything else only tells what happened: `notify`. */
const poolOfEvent: Partial<Record<string, HookPool>> = {
  [HookEvent.namespacesInit]: 'start',
  [HookEvent.ready]: 'start',
  [HookEvent.close]: 'end',
  [HookEvent.namespaceClosing]: 'end',
  [HookEvent.crash]: 'end',
  [HookEvent.jumpIndex]: 'store',
  [HookEvent.jumpData]: 'store',
  [HookEvent.missingData]: 'retrieve',
  [HookEvent.segmentDeleted]: 'delete',
  [HookEvent.recoveryPoint]: 'point',
}

/** These go on when the server has ended: 0-db does not wait for them. */
const outliving: ReadonlySet<string> = new Set([HookEvent.namespaceClosing, HookEvent.crash])

export interface HookLimits {
  readonly timeoutMs: number
  /** Of `missing-data`. */
  readonly retrieveTimeoutMs: number
  /** Of `close`, `crash` and `namespace-closing`. */
  readonly closeTimeoutMs: number
  readonly storeMax: number
  readonly retrieveMax: number
}

/** Hooks at once of events that only tell what happened; so many more wait, and what comes then fails. */
const notifyMax = 4
const notifyWaitingMax = 1_000
/** At the end there is one for each namespace. */
const endMax = 256

/** Uploads and cold reads have pools of their own, so that neither waits for the other; deletions go one at a time through the pool of
 *  the uploads, behind them. */
export class HookPools {
  readonly #limits: HookLimits
  readonly #semaphores: Readonly<Record<HookPool, Semaphore>>

  constructor(limits: HookLimits) {
    this.#limits = limits
    this.#semaphores = {
      start: new Semaphore(1),
      end: new Semaphore(endMax),
      store: new Semaphore(limits.storeMax),
      retrieve: new Semaphore(limits.retrieveMax),
      delete: new Semaphore(1),
      point: new Semaphore(1),
      notify: new Semaphore(notifyMax),
    }
  }

  /** Waits until one more hook of this event may run.
   *  @throws HookFailed when too many wait already, HookWithdrawn */
  async enter(event: string, signal?: AbortSignal): Promise<Disposable> {
    const pool = poolOf(event)
    if (pool === 'notify' && this.#semaphores.notify.waiting >= notifyWaitingMax)
      throw new HookFailed(`${event}: ${notifyWaitingMax} hooks are waiting`)
    const own = await this.#acquire(pool, event, signal)
    if (pool !== 'delete') return own
    try {
      return both(own, await this.#acquire('store', event, signal))
    } catch (error) {
      own.release()
      throw error
    }
  }

  timeoutMs(event: string): number {
    const pool = poolOf(event)
    if (pool === 'end') return this.#limits.closeTimeoutMs
    return pool === 'retrieve' ? this.#limits.retrieveTimeoutMs : this.#limits.timeoutMs
  }

  outlives(event: string): boolean {
    return outliving.has(event)
  }

  async #acquire(pool: HookPool, event: string, signal: AbortSignal | undefined): Promise<Permit> {
    try {
      return await this.#semaphores[pool].acquire(1, signal === undefined ? {} : { signal })
    } catch (error) {
      throw new HookWithdrawn(`${event}: nobody wants it any more`, error)
    }
  }

  /** Of each pool, hooks that wait to be run. */
  waiting(): readonly (readonly [HookPool, number])[] {
    return Object.entries(this.#semaphores).map(([pool, { waiting }]) => [pool as HookPool, waiting])
  }
}

function poolOf(event: string): HookPool {
  return poolOfEvent[event] ?? 'notify'
}

function both(first: Permit, second: Permit): Disposable {
  return {
    [Symbol.dispose]() {
      second.release()
      first.release()
    },
  }
}
