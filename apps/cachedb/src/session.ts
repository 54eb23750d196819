import { AssertionError } from 'node:assert'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import type { Outlet, RespSession } from '@qsfs/resp/connection'
import { type MaybePromise, type noReply, type Reply, type ReplyOrError, RespError } from '@qsfs/resp/reply'
import type { Log } from '@qsfs/telemetry/log'
import type { Audience, Listener } from './audience.ts'
import { takeOwnerId } from './commands/master.ts'
import { hiddenSecret } from './commands/mirror.ts'
import { type Command, findCommand, type NumberedCommand, usesNamespace } from './commands/table.ts'
import type { Hooks } from './engine/hooks/hooks.ts'
import type { HostedNamespace, Namespaces } from './engine/namespaces.ts'
import type { Claim } from './engine/ownership.ts'
import type { Points } from './engine/points/points.ts'
import { CacheFull, NamespaceDetached, NamespaceReadOnly, OwnerLost, Refused, SegmentUnavailable } from './errors.ts'
import { StorageError } from './segment/storage.ts'
import type { ServerStats } from './server-stats.ts'

/** What all sessions of a server share. */
export interface ServerState {
  readonly namespaces: Namespaces
  readonly points: Points
  readonly hooks: Hooks
  readonly audience: Audience
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly stats: ServerStats
  /** '' when there is none: then every client is admin. */
  readonly adminPassword: string
  /** Whether `default` may be written only after a SELECT with the admin password. */
  readonly isProtected: boolean
  /** Whether SET and DEL are answered only once they are on disk. */
  readonly syncEachWrite: boolean
  /** Ends the server; null when STOP is not allowed. */
  readonly stop: (() => void) | null
}

/** One client: its namespace, its rights, the namespaces it owns. Needs no socket. */
export class Session implements RespSession, Listener {
  readonly server: ServerState
  readonly #outlet: Outlet
  hosted: HostedNamespace
  isAdmin: boolean
  /** Decided by SELECT; later changes of the namespace do not touch it. */
  isWritable: boolean
  /** It sent MASTER: its requests end with an owner id. */
  isMaster = false
  /** Of AUTH SECURE CHALLENGE, 16 hex digits. */
  challenge: string | null = null
  readonly #claims = new Map<HostedNamespace, Claim>()
  /** Password-protected namespaces this client gave the password of. */
  readonly #unlocked = new Set<HostedNamespace>()
  #serial = false
  #finished = false
  #replyBytesDue = 0
  /** Of the command that is being begun. */
  #expectedBytes = 0

  constructor(server: ServerState, outlet: Outlet) {
    this.server = server
    this.#outlet = outlet
    this.hosted = server.namespaces.default
    this.isAdmin = server.adminPassword === ''
    this.isWritable = !server.isProtected
  }

  get serial(): boolean {
    return this.#serial
  }

  get finished(): boolean {
    return this.#finished
  }

  get replyBytesDue(): number {
    return this.#replyBytesDue
  }

  get listening(): boolean {
    return this.server.audience.has(this)
  }

  /** For a handler that answers later: so large its reply will be. */
  expectBytes(replyBytes: number): void {
    this.#expectedBytes = replyBytes
  }

  push(reply: ReplyOrError): void {
    this.#outlet.push(reply)
  }

  /** Runs one command, its name first.
   *  @throws RespError, also as a rejection */
  execute(request: Buffer[]): MaybePromise<Reply> | typeof noReply {
    const { stats, audience } = this.server
    this.#requireAttached()
    const { args, ownerId } = this.isMaster ? takeOwnerId(request) : { args: request, ownerId: 0 }
    const command = findCommand(args[0]!)
    if (!command) {
      stats.commandsFailed++
      throw new Refused('Command not supported')
    }
    const isTimed = stats.count(command.row)
    const isAloud = audience.isListening
    if (!isTimed && !isAloud) return this.#run(command, args)
    const startMs = this.server.clock.monotonicMs()
    let { hosted } = this
    return thenTelling(
      () => {
        const reply = this.#run(command, args)
        // Where a SELECT has led; before it ends, another one may lead elsewhere.
        hosted = this.hosted
        return reply
      },
      () => {
        if (isTimed) stats.commandSeconds.observe((this.server.clock.monotonicMs() - startMs) / 1000, [command.name])
        if (isAloud) this.#tell(command, args, hosted, ownerId)
      },
    )
  }

  close(): void {
    this.server.audience.leave(this)
    this.#claims.clear()
    this.#unlocked.clear()
  }

  /** Rights that a command's handler, not its row, asks for. */
  requireAdmin(): void {
    if (this.isAdmin) return
    this.server.stats.commandsUnauthorized++
    throw new Refused('Permission denied')
  }

  select(hosted: HostedNamespace, isWritable: boolean): void {
    this.hosted = hosted
    this.isWritable = isWritable
    if (isWritable) this.#unlocked.add(hosted)
  }

  /** Takes all of them or none. @throws OwnerLost */
  own(claim: Claim, wanted: readonly HostedNamespace[]): void {
    for (const { ownership } of wanted) if (!ownership.admits(claim)) throw new OwnerLost()
    for (const hosted of wanted) {
      hosted.ownership.take(claim)
      this.#claims.set(hosted, claim)
    }
  }

  /** Whether this client owned the namespace and still does. */
  isOwner(hosted: HostedNamespace): boolean {
    return this.#claims.has(hosted)
  }

  /** A namespace named in a command of ours. @throws Refused, OwnerLost */
  reach(name: string): HostedNamespace {
    const hosted = this.server.namespaces.get(name)
    if (!hosted) throw new Refused(ErrorText.namespaceNotFound)
    if (hosted.namespace.settings.password !== '' && !this.#unlocked.has(hosted)) throw new Refused('Access denied')
    this.#requireStillOwner(hosted)
    return hosted
  }

  #run(command: NumberedCommand, args: Buffer[]): MaybePromise<Reply> | typeof noReply {
    const { reloading } = this.hosted
    if (reloading !== null && usesNamespace(command)) return this.#runLater(reloading, command, args)
    try {
      this.#check(command, args)
      const reply = command.run(this, args)
      return reply instanceof Promise ? this.#whenDone(command, reply) : reply
    } catch (error) {
      throw this.#asReply(command, error, this.hosted)
    }
  }

  /** Behind a RELOAD. Nothing of this connection overtakes it: a SELECT would lead it elsewhere. */
  async #runLater(reloading: Promise<void>, command: NumberedCommand, args: Buffer[]): Promise<Reply> {
    this.#serial = true
    try {
      await reloading
    } catch (error) {
      throw this.#asReply(command, error, this.hosted)
    } finally {
      this.#serial = false
    }
    this.#requireAttached()
    // What uses a namespace is answered.
    return this.#run(command, args) as MaybePromise<Reply>
  }

  /** To those who listen, when it is over, well or not. The arguments are ours until it is answered. */
  #tell({ name, secretsFrom }: Command, args: Buffer[], hosted: HostedNamespace, ownerId: number): void {
    const hiddenFrom = secretsFrom ?? args.length
    const shown = args.map((argument, index) => (index < hiddenFrom ? argument : hiddenSecret))
    this.server.audience.hear({ by: this, hosted, command: name, ownerId, args: shown })
  }

  /** The checks of a row, in 0-db's order. */
  #check(command: Command, args: Buffer[]): void {
    if (command.access === 'admin') this.requireAdmin()
    command.arity(args, this)
    if (command.access !== 'read' && command.access !== 'write') return
    const { keyTooLong } = command
    if (keyTooLong !== undefined && args[1]!.length > 255) throw new Refused(keyTooLong)
    if (command.access === 'write' && !this.isWritable) throw new Refused(ErrorText.namespaceReadOnly)
    const { lock } = this.hosted
    if (lock === 'frozen') throw new Refused(ErrorText.namespaceFrozen)
    if (command.access === 'write' && lock === 'locked') throw new Refused(ErrorText.namespaceLocked)
    this.#requireStillOwner(this.hosted)
  }

  /** @throws NamespaceDetached; the connection is closed behind it */
  #requireAttached(): void {
    if (!this.hosted.dropped) return
    this.#finished = true
    throw new NamespaceDetached()
  }

  /** Asked when a command is executed, not when it was sent: what a dead owner left in a buffer changes nothing. */
  #requireStillOwner(hosted: HostedNamespace): void {
    if (this.#claims.size === 0) return
    const claim = this.#claims.get(hosted)
    if (claim && !hosted.ownership.isCurrent(claim)) throw new OwnerLost()
  }

  async #whenDone(command: NumberedCommand, reply: Promise<Reply>): Promise<Reply> {
    const expectedBytes = this.#expectedBytes
    // Before it is answered, a SELECT may lead elsewhere.
    const { hosted } = this
    this.#expectedBytes = 0
    this.#replyBytesDue += expectedBytes
    if (command.serial) this.#serial = true
    try {
      return await reply
    } catch (error) {
      throw this.#asReply(command, error, hosted)
    } finally {
      if (command.serial) this.#serial = false
      this.#replyBytesDue -= expectedBytes
    }
  }

  /** The error as this client may hear of it: what hooks print, and paths, are for admins. */
  told(error: RespError): RespError {
    if (!(error instanceof SegmentUnavailable) || this.isAdmin) return error
    return new SegmentUnavailable("it cannot be read now: ask again later; the server's log says why", error)
  }

  /** The one place where an unknown error becomes a reply. A failed assertion is a bug: it ends the process. */
  #asReply(command: NumberedCommand, error: unknown, hosted: HostedNamespace): RespError | AssertionError {
    this.server.stats.refused[command.row]!++
    if (error instanceof AssertionError) return error
    if (!(error instanceof RespError) || error instanceof SegmentUnavailable || error instanceof NamespaceReadOnly) {
      hosted.dataErrors++
      hosted.lastDataErrorSeconds = Math.floor(this.server.clock.nowMs() / 1000)
    }
    if (error instanceof RespError) return this.told(error)
    // The disk's refusal is nobody's bug; who asked for a change hears that it was not made.
    if (error instanceof StorageError)
      return error.full ? new CacheFull('space', error) : this.told(new SegmentUnavailable(error.message, error))
    this.server.log.error('command.failed', { command: command.name, namespace: hosted.namespace.name, error })
    return new RespError(ErrorText.internal)
  }
}

/** Calls `tell` when it is over, well or not. */
function thenTelling<R>(run: () => R, tell: () => void): R {
  let isOver = true
  try {
    const reply = run()
    if (!(reply instanceof Promise)) return reply
    isOver = false
    return reply.finally(tell) as R
  } finally {
    if (isOver) tell()
  }
}
