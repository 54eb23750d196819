import { AssertionError } from 'node:assert'
import { once } from 'node:events'
import { type Clock, delay } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import { InterruptIn, NotifyCode, NotifyInvalidateInode, OutHeader } from './abi.ts'
import { Answer, type Lifetimes } from './answer.ts'
import type { RequestChannel } from './channel.ts'
import { Errno, type ErrnoName, FuseError } from './errno.ts'
import type { Entry, Filesystem, KernelPages } from './filesystem.ts'
import { negotiate, resumedConnection } from './negotiation.ts'
import type { OpcodeName } from './opcodes.ts'
import { type Operation, operations } from './operations.ts'
import { Request } from './request.ts'
import type { RequestCounts } from './request-counts.ts'
import { changesTheTree } from './resume/changing-requests.ts'
import type { RequestJournal } from './resume/request-journal.ts'

export interface SessionOptions extends Lifetimes {
  readonly log: Log
  readonly maxBackground: number
  /** True on a descriptor whose mount was served by a process that died: INIT is long over, and what that process left
   *  unanswered is asked for again. */
  readonly resumed?: boolean
  /** Set when another process goes on with this mount after this one. */
  readonly succession?: Succession
  readonly counts?: RequestCounts
  /** For the pace of the log; without it every failure is told. */
  readonly clock?: Clock
}

/** The only mount of a filesystem may keep entries and attributes as long as it likes: a day. */
export const sessionDefaults = { entryTtlSeconds: 86_400, attrTtlSeconds: 86_400, maxBackground: 32 } as const

export interface Succession {
  /** Keeps what changes something. */
  readonly journal: RequestJournal
  /** Aborted: it is the next one's turn. */
  readonly leaving: AbortSignal
  readonly clock: Clock
}

/** Requests that change nothing: whoever asked may stop waiting, and what they find comes too late. */
const abandonable: ReadonlySet<OpcodeName> = new Set([
  'LOOKUP',
  'GETATTR',
  'STATX',
  'READLINK',
  'READ',
  'LSEEK',
  'STATFS',
  'GETXATTR',
  'LISTXATTR',
  'READDIR',
  'FSYNC',
  'FSYNCDIR',
  'SYNCFS',
])

/** They lie with the store and not with what was asked. */
const failuresOfTheStore: ReadonlySet<ErrnoName> = new Set(['EIO', 'EROFS'])
const tellEveryMs = 1000

/** What takes longer than this when a process leaves is left to the next one. */
const leaveWithinMs = 2000

/** Serves `filesystem` until its mount is gone: then waits for what is still in flight and calls `destroy`. When it leaves
 *  the mount to another process it settles when nearly everything is answered; then the filesystem is to be flushed.
 *  @throws when the channel fails, or with the AssertionError of a filesystem that found a bug in itself */
export async function serve(filesystem: Filesystem, channel: RequestChannel, options: SessionOptions): Promise<void> {
  const session = new Session(filesystem, channel, options)
  if (options.resumed) session.resume()
  await Promise.race([channel.receive(request => session.dispatch(request)), session.broken, session.left()])
  if (options.succession?.leaving.aborted) return
  await session.drained()
  await filesystem.destroy?.()
}

class Session {
  readonly #filesystem: Filesystem
  readonly #channel: RequestChannel
  readonly #options: SessionOptions
  readonly #log: Log
  readonly #answer: Answer
  /** Requests whose answer is a promise, for INTERRUPT and for the drain; with their completion. */
  readonly #inFlight = new Map<bigint, { readonly request: Request; readonly done: Promise<void> }>()
  readonly #broken = Promise.withResolvers<never>()
  /** Since the reason of one was told. */
  #failureCount = 0
  #tellAgainMs = 0
  /** What the process before left unanswered is still coming. */
  #isCatchingUp = false

  constructor(filesystem: Filesystem, channel: RequestChannel, options: SessionOptions) {
    this.#filesystem = filesystem
    this.#channel = channel
    this.#options = options
    this.#log = options.log
    this.#answer = new Answer(options)
    // It may break when nobody waits any more, while draining.
    this.#broken.promise.catch(() => undefined)
  }

  readonly #pages: KernelPages = {
    writeBack: (ino, offsetBytes, lengthBytes) => {
      const body = NotifyInvalidateInode.toBuffer({ ino, offsetBytes, lengthBytes })
      const lenBytes = OutHeader.sizeBytes + body.length
      const head = OutHeader.toBuffer({ lenBytes, error: NotifyCode.INVAL_INODE, unique: 0n })
      return this.#channel.notify(Buffer.concat([head, body]))
    },
  }

  get broken(): Promise<never> {
    return this.#broken.promise
  }

  /** The mount is gone, and with it whoever waited: what can be given up is given up. */
  async drained(): Promise<void> {
    for (const { request } of [...this.#inFlight.values()]) this.#giveUp(request)
    while (this.#inFlight.size > 0) await Promise.all([...this.#inFlight.values()].map(({ done }) => done))
  }

  /** Settles when it has left; never when it need not. */
  async left(): Promise<void> {
    const { succession } = this.#options
    if (succession === undefined) return new Promise(() => undefined)
    const { clock, leaving } = succession
    if (!leaving.aborted) await once(leaving, 'abort')
    this.#channel.leave()
    const inFlight = [...this.#inFlight.values()].map(({ done }) => done)
    const isOver = new AbortController()
    const late = delay(clock, leaveWithinMs, { signal: isOver.signal }).catch(() => undefined)
    await Promise.race([Promise.all(inFlight), late])
    isOver.abort()
    this.#log.event('fuse.left', { unanswered: this.#inFlight.size })
  }

  resume(): void {
    this.#isCatchingUp = true
    this.#filesystem.init?.(resumedConnection, this.#pages)
    // A notification is a reply to nothing: unique 0, the code in the place of the error.
    const lenBytes = OutHeader.sizeBytes
    this.#channel.reply(OutHeader.toBuffer({ lenBytes, error: NotifyCode.RESEND, unique: 0n }), [])
    this.#log.event('fuse.resumed')
  }

  /** One request, from its bytes to its reply; what waits goes on by itself. */
  dispatch(received: Buffer): void {
    let request: Request
    try {
      request = new Request(received)
    } catch (error) {
      this.#broken.reject(error)
      return
    }
    this.#options.counts?.note(request)
    if (request.name === 'INIT') this.#initialise(request)
    else if (request.name === 'INTERRUPT') this.#interrupt(request)
    else this.#operate(request)
  }

  #operate(request: Request): void {
    const operation = request.name === null ? undefined : operations.get(request.name)
    if (operation === undefined) {
      this.#fail(request, new FuseError('ENOSYS'))
      return
    }
    if (request.resent && this.#repeatReply(request)) return
    const { replies, answer } = operation
    if (this.#isCatchingUp && !request.resent && replies) this.#caughtUp()
    let result: unknown
    try {
      result = operation.run(this.#filesystem, request, this.#options)
    } catch (error) {
      if (replies) this.#fail(request, error)
      else this.#report(request, error)
      return
    }
    if (!replies) return
    if (result instanceof Promise) this.#wait(request, result, answer)
    else this.#succeed(request, answer, result)
  }

  #wait(request: Request, result: Promise<unknown>, fill: Operation['answer']): void {
    const done = result.then(
      value => {
        if (this.#inFlight.delete(request.unique)) this.#succeed(request, fill, value)
        // The kernel was told of no entry, and will not forget it.
        else if (request.name === 'LOOKUP' && value !== null) this.#filesystem.forget((value as Entry).attr.nodeId, 1)
      },
      error => {
        if (this.#inFlight.delete(request.unique)) this.#fail(request, error)
      },
    )
    this.#inFlight.set(request.unique, { request, done })
  }

  #initialise(request: Request): void {
    try {
      const negotiated = negotiate(request.body, this.#filesystem, this.#options)
      if (negotiated.connection !== null) {
        this.#log.event('fuse.initialised', { ...negotiated.connection, flags: [...negotiated.flags] })
      }
      this.#succeed(request, answer => answer.bytes([negotiated.reply]), null)
      if (negotiated.connection !== null) this.#filesystem.init?.(negotiated.connection, this.#pages)
    } catch (error) {
      this.#fail(request, error)
    }
  }

  /** The kernel sends it after the request it means, which was read before: unknown is answered already. No reply. */
  #interrupt(request: Request): void {
    const { unique } = InterruptIn.decode(request.body)
    const waiting = this.#inFlight.get(unique)
    if (waiting !== undefined) this.#giveUp(waiting.request)
  }

  /** The operation hears of it; who waits for what it finds need not. */
  #giveUp(request: Request): void {
    request.interrupt()
    if (request.name === null || !abandonable.has(request.name)) return
    this.#inFlight.delete(request.unique)
    this.#fail(request, new FuseError('EINTR'))
  }

  #succeed(request: Request, fill: Operation['answer'], result: unknown): void {
    try {
      fill(this.#answer, result)
    } catch (error) {
      // The filesystem's result does not fit the wire, say a fraction of a second: its bug, and the caller's EIO.
      this.#answer.clear()
      this.#fail(request, error)
      return
    }
    const { head, parts } = this.#answer.take(request.unique)
    if (request.name !== null && changesTheTree(request.name)) this.#note(request, head)
    this.#send(request, head, parts)
  }

  #note(request: Request, reply: Buffer): void {
    const { succession } = this.#options
    succession?.journal.noteAnswered(request.received, reply, succession.clock.nowMs())
  }

  /** It happened in the process before, which was killed on its way to tell.
   *  @returns false when it did not */
  #repeatReply(request: Request): boolean {
    const reply = this.#options.succession?.journal.replyTo(request.unique)
    if (reply == null) return false
    this.#send(request, reply, [])
    return true
  }

  /** The kernel puts what it sends again before all else that it asks; only FORGET and INTERRUPT go their own ways. */
  #caughtUp(): void {
    this.#isCatchingUp = false
    this.#options.succession?.journal.forgetReplies()
  }

  #fail(request: Request, error: unknown): void {
    if (error instanceof FuseError && failuresOfTheStore.has(error.code)) this.#tellWhy(request, error)
    const errno = error instanceof FuseError ? error.errno : this.#report(request, error)
    const head = OutHeader.toBuffer({ lenBytes: OutHeader.sizeBytes, error: -errno, unique: request.unique })
    this.#send(request, head, [])
  }

  /** The caller gets a number, the reason is here: once a second, for a store that is away fails everybody. */
  #tellWhy(request: Request, error: FuseError): void {
    this.#failureCount++
    const nowMs = this.#options.clock?.monotonicMs() ?? Number.POSITIVE_INFINITY
    if (nowMs < this.#tellAgainMs) return
    this.#tellAgainMs = nowMs + tellEveryMs
    const { name, opcode, nodeId } = request
    const { code, message } = error
    this.#log.warn('fuse.failed', { opcode: name ?? opcode, nodeId, code, reason: message, count: this.#failureCount })
    this.#failureCount = 0
  }

  /** An error that is no FuseError. @returns the errno for the caller */
  #report(request: Request, error: unknown): number {
    this.#log.error('fuse.operation_failed', { opcode: request.name ?? request.opcode, nodeId: request.nodeId, error })
    if (error instanceof AssertionError) this.#broken.reject(error)
    return Errno.EIO
  }

  #send(request: Request, head: Buffer, parts: readonly Uint8Array[]): void {
    try {
      this.#channel.reply(head, parts)
    } catch (error) {
      // The kernel refused the bytes and has answered EIO to the caller by itself.
      this.#log.error('fuse.reply_refused', { opcode: request.name ?? request.opcode, nodeId: request.nodeId, error })
    }
  }
}
