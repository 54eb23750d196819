import { Backoff } from '@qsfs/concurrency/backoff'
import { type Clock, delay, type RandomSource } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { ConnectionLost } from '@qsfs/resp/client'
import type { Log } from '@qsfs/telemetry/log'
import { CachedbSession, type Connect, type NamespaceNames } from './cachedb-session.ts'
import { before } from './deadline.ts'
import { hasText, toFuseError } from './resp-errors.ts'

const livedLongMs = 5000

/** Keeps one session with the server: when it is lost, opens the next and lets its user bring it up to date before anyone
 *  else gets it. Ends when another owner took over or the server cannot be trusted any more. */
export class SessionKeeper implements AsyncDisposable {
  readonly #connect: Connect
  readonly #names: NamespaceNames
  readonly #clock: Clock
  readonly #log: Log
  readonly #backoff: Backoff
  readonly #ownerId: string
  readonly #bringUpToDate: (session: CachedbSession) => Promise<void>
  readonly #stop = new AbortController()
  #attempt = 0
  #openedMs = 0
  #current: CachedbSession | null = null
  #opening: Promise<CachedbSession> | null = null
  #ended: FuseError | null = null
  /** Why there is no session. */
  #lastFailure: unknown = null

  /** @param bringUpToDate called with each session but the first, before its use */
  constructor(
    connect: Connect,
    names: NamespaceNames,
    clock: Clock,
    random: RandomSource,
    log: Log,
    bringUpToDate: (session: CachedbSession) => Promise<void>,
  ) {
    this.#connect = connect
    this.#names = names
    this.#clock = clock
    this.#log = log
    this.#backoff = new Backoff({ firstMs: 10, maxMs: 1000, random })
    this.#ownerId = random(16).toString('hex')
    this.#bringUpToDate = bringUpToDate
  }

  /** The first session; no second try.
   *  @throws RespError, ConnectionLost */
  async openFirst(): Promise<CachedbSession> {
    return this.#use(await this.#open())
  }

  /** The session, if there is one now: to be asked for right before each command, with no wait between. */
  get current(): CachedbSession | null {
    return this.#ended === null ? this.#current : null
  }

  /** Settles when there is a session.
   *  @throws FuseError when there is none in time, with what the server said if it said anything; the signal's reason */
  async readyBefore(deadlineMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#ended !== null) throw this.#ended
    if (this.#opening === null) return
    try {
      await before(this.#clock, deadlineMs, this.#opening, signal)
    } catch (error) {
      if (signal?.aborted || error === this.#ended || this.#lastFailure === null) throw error
      throw toFuseError(this.#lastFailure, 'no connection to the server in time')
    }
  }

  /** A command on this session was answered by silence. */
  replace(session: CachedbSession): void {
    if (this.#current !== session || this.#stop.signal.aborted) return
    this.#current = null
    this.#opening = this.#reopen(session)
    // Those who wait for it see the failure; if nobody waits it is kept in #ended.
    this.#opening.catch(() => undefined)
  }

  /** Nothing is sent any more: another owner has the namespaces, or they are not what they were. */
  end(reason: FuseError): void {
    if (this.#ended !== null) return
    this.#ended = reason
    this.#log.error('store.ended', { error: reason })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new FuseError('EIO', 'the store is closed')
    this.#ended ??= reason
    this.#stop.abort(reason)
    await Promise.allSettled([this.#opening])
    const current = this.#current
    this.#current = null
    await current?.[Symbol.asyncDispose]()
  }

  #open(): Promise<CachedbSession> {
    return CachedbSession.open(this.#connect, this.#names, `${this.#ownerId}.${++this.#attempt}`)
  }

  #use(session: CachedbSession): CachedbSession {
    this.#current = session
    this.#opening = null
    this.#lastFailure = null
    this.#openedMs = this.#clock.monotonicMs()
    session.lost.then(() => this.replace(session))
    return session
  }

  async #reopen(lost: CachedbSession): Promise<CachedbSession> {
    this.#log.warn('store.connection_lost')
    await lost[Symbol.asyncDispose]()
    // A server that answers and drops us at once is asked more and more rarely.
    if (this.#clock.monotonicMs() - this.#openedMs >= livedLongMs) this.#backoff.reset()
    for (;;) {
      // Also lets every reply that did arrive reach its caller before the next session counts what is missing.
      await delay(this.#clock, this.#backoff.next(), { signal: this.#stop.signal })
      try {
        const session = await this.#openAndUpdate()
        this.#log.event('store.connected', { attempt: this.#attempt })
        return this.#use(session)
      } catch (error) {
        if (error instanceof FuseError || hasText(error, ErrorText.ownerLost)) {
          const reason = error instanceof FuseError ? error : ownerLost(error)
          this.end(reason)
          throw reason
        }
        this.#lastFailure = error
        if (!(error instanceof ConnectionLost)) this.#log.warn('store.connect_failed', { error })
      }
    }
  }

  async #openAndUpdate(): Promise<CachedbSession> {
    const session = await this.#open()
    try {
      await this.#bringUpToDate(session)
      return session
    } catch (error) {
      await session[Symbol.asyncDispose]()
      throw error
    }
  }
}

export function ownerLost(cause: unknown): FuseError {
  return new FuseError('EROFS', 'another filesystem process has taken the namespaces over', { cause })
}
