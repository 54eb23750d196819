import type { Clock } from '@qsfs/concurrency/clock'
import type { ReplyOrError } from '@qsfs/resp/reply'
import { RespError } from '@qsfs/resp/reply'
import type { HostedNamespace } from './engine/namespaces.ts'
import { NamespaceDetached } from './errors.ts'

/** A connection that hears what others execute. */
export interface Listener {
  /** Its namespace now. */
  readonly hosted: HostedNamespace
  push(reply: ReplyOrError): void
}

/** A command that is over, well or not. */
export interface Executed {
  readonly by: Listener
  /** Its namespace when it had been executed. */
  readonly hosted: HostedNamespace
  readonly command: string
  /** Whose change it is, by what a MASTER said; else 0. */
  readonly ownerId: number
  /** Borrowed until the call returns; secrets are already taken out. */
  readonly args: readonly Buffer[]
}

interface Wait {
  /** null: any. */
  readonly command: string | null
  readonly cancel: () => void
}

/** Those who wait for a command of another connection (WAIT) or watch them all (MIRROR). */
export class Audience {
  /** Asked before each command: nobody listens is the rule. */
  isListening = false
  readonly #clock: Clock
  readonly #waits = new Map<Listener, Wait>()
  readonly #mirrors = new Set<Listener>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  has(listener: Listener): boolean {
    return this.#waits.has(listener) || this.#mirrors.has(listener)
  }

  /** Tells the listener once of the next such command that another connection executes in its namespace, or that none came in time.
   *  A listener's second wait takes the place of its first.
   *  @param command null: any */
  wait(listener: Listener, command: string | null, timeoutMs: number): void {
    this.#waits.get(listener)?.cancel()
    const cancel = this.#clock.schedule(timeoutMs, () => this.#answer(listener, new RespError('Timeout')))
    this.#waits.set(listener, { command, cancel })
    this.isListening = true
  }

  /** Tells the listener of every command of every other connection, in any namespace, until it leaves. */
  mirror(listener: Listener): void {
    this.#mirrors.add(listener)
    this.isListening = true
  }

  leave(listener: Listener): void {
    this.#waits.get(listener)?.cancel()
    this.#waits.delete(listener)
    this.#mirrors.delete(listener)
    this.#lookWhoListens()
  }

  hear(executed: Executed): void {
    const { by, hosted, command, ownerId, args } = executed
    for (const [listener, wait] of this.#waits) {
      // As in 0-db, a mirror's wait only ever times out: it is told of the command anyway.
      if (listener === by || this.#mirrors.has(listener)) continue
      // Nobody can execute anything there any more.
      if (listener.hosted.dropped) this.#answer(listener, new NamespaceDetached())
      else if (listener.hosted === hosted && (wait.command ?? command) === command) this.#answer(listener, command)
    }
    if (this.#mirrors.size === 0) return
    const name = Buffer.from(hosted.namespace.name)
    const record = [Math.floor(this.#clock.nowMs() / 1000), name, ownerId, ...args]
    for (const listener of this.#mirrors) if (listener !== by) listener.push(record)
  }

  #answer(listener: Listener, reply: ReplyOrError): void {
    this.#waits.get(listener)?.cancel()
    this.#waits.delete(listener)
    this.#lookWhoListens()
    listener.push(reply)
  }

  #lookWhoListens(): void {
    this.isListening = this.#waits.size > 0 || this.#mirrors.size > 0
  }
}
