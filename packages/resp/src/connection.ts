import type { Socket } from 'node:net'
import type { Clock } from '@qsfs/concurrency/clock'
import type { RunQueue } from '@qsfs/concurrency/run-queue'
import type { Wakefulness } from '@qsfs/concurrency/wakefulness'
import type { BulkPool } from './bulk-pool.ts'
import { ReplyEncoder } from './encoder.ts'
import { ClientDropped, type ConnectionLimits } from './limits.ts'
import { MalformedRequest, RespParser } from './parser.ts'
import { Progress } from './progress.ts'
import { receiveInto } from './receive-buffer.ts'
import { type MaybePromise, noReply, type Reply, type ReplyOrError, RespError } from './reply.ts'

/** What one connection talks to. The server calls `execute` in the order of the commands and sends the replies in that
 *  order. While one is a promise it goes on with the next, up to its limits, unless `serial` says to wait. */
export interface RespSession {
  /** Runs one command, its name first. Throws or rejects with RespError for an error reply, with nothing else:
   *  another error is a bug and ends the process. Arguments are borrowed until the command is answered: copy what is kept, and
   *  put no argument of 2 KiB or more into a reply. A reply in memory of the server's pool goes back there once it is sent. */
  execute(args: Buffer[]): MaybePromise<Reply> | typeof noReply
  /** True while a command runs that must end before the next begins. */
  readonly serial: boolean
  /** True when the connection is to be closed behind the replies given so far. */
  readonly finished: boolean
  /** Bytes that the replies of the commands under way will take, as far as they are large. */
  readonly replyBytesDue: number
  /** True while the client waits for what `push` may bring: then it is not idle. */
  readonly listening: boolean
  /** The connection is gone; called once. */
  close(): void
}

/** How a session answers out of turn. */
export interface Outlet {
  /** Sends a reply behind those of the commands executed so far and before those of later ones. It is copied: its bytes may be
   *  borrowed. Never waits: a client that leaves more than `pushBytesMax` unread is dropped. Does nothing on a closed connection. */
  push(reply: ReplyOrError): void
}

/** What the connections of a server share. */
export interface SharedByConnections {
  readonly clock: Clock
  readonly queue: RunQueue
  /** Until it settles, commands are taken and not executed; null: at once. */
  opens: Promise<void> | null
  readonly pool: BulkPool
  /** null: none. */
  readonly receiveBuffer: Buffer | null
  readonly wakefulness: Wakefulness | null
}

/** A reply that is owed, in its place in the order. */
interface OwedReply {
  reply: ReplyOrError | undefined
}

/** One client: bytes → commands → session → replies in order → bytes. It reads only while it can answer. */
export class Connection implements Outlet {
  readonly #socket: Socket
  readonly #session: RespSession
  readonly #clock: Clock
  readonly #queue: RunQueue
  readonly #limits: ConnectionLimits
  readonly #pool: BulkPool
  readonly #wakefulness: Wakefulness | null
  readonly #parser: RespParser
  readonly #encoder: ReplyEncoder
  /** Replies behind a command that still runs. Empty in the common case: then replies go straight to the encoder. */
  #owed: OwedReply[] = []
  #owedBytes = 0
  /** Since the client had taken everything. */
  #pushedBytes = 0
  #runningCount = 0
  /** Of the slice that runs: commands, when the first of them were done, bytes read. */
  #sliceCommands = 0
  #sliceStartMs = 0
  #sliceBytes = 0
  /** The slice is over, the next is waited for. */
  #isQueued = false
  readonly #progress: Progress
  #pumping = false
  #pumpPending = false
  /** The client has sent its last byte. */
  #inputEnded = false
  /** No more commands are executed. */
  #closing = false
  #lingeredBytes = 0

  constructor(
    socket: Socket,
    openSession: (outlet: Outlet) => RespSession,
    shared: SharedByConnections,
    limits: ConnectionLimits,
  ) {
    this.#socket = socket
    this.#session = openSession(this)
    this.#clock = shared.clock
    this.#queue = shared.queue
    this.#wakefulness = shared.wakefulness
    this.#limits = limits
    this.#pool = shared.pool
    this.#encoder = new ReplyEncoder(shared.pool)
    this.#parser = new RespParser(limits, shared.pool)
    this.#progress = new Progress(socket, shared.clock.monotonicMs())
    if (shared.opens !== null) {
      this.#isQueued = true
      void shared.opens.then(() => this.#beginSlice())
    }
    const isBorrowing =
      shared.receiveBuffer !== null && receiveInto(socket, shared.receiveBuffer, bytes => this.#receive(bytes, true))
    if (!isBorrowing) socket.on('data', (chunk: Buffer) => this.#receive(chunk, false))
    socket.on('drain', () => {
      if (this.#outputBytes() === 0) this.#pushedBytes = 0
      this.#pump()
    })
    socket.on('end', () => {
      this.#inputEnded = true
      this.#pump()
    })
    socket.once('close', () => {
      this.#closing = true
      this.#session.close()
    })
  }

  get bytesRead(): number {
    return this.#socket.bytesRead
  }

  get bytesWritten(): number {
    return this.#socket.bytesWritten
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Drops a client that takes or says nothing for too long. */
  checkProgress(): void {
    const { unreadMs, idleMs } = this.#limits
    const nowMs = this.#clock.monotonicMs()
    const isBusy = this.#owed.length > 0 || this.#isQueued || this.#socket.writableLength > 0 || this.#session.listening
    if (this.#progress.unreadMs(nowMs) >= unreadMs)
      this.#drop(`it took none of the ${this.#outputBytes()} bytes that wait for it, for ${unreadMs} ms`)
    else if (this.#progress.silentMs(nowMs, isBusy) >= idleMs && idleMs > 0) this.#drop(`it was idle for ${idleMs} ms`)
  }

  push(reply: ReplyOrError): void {
    if (this.#closing) return
    // What was asked for is bounded already: only what is pushed counts here, as far as it can still be unread.
    this.#pushedBytes = Math.min(this.#pushedBytes, this.#outputBytes()) + sizeOf(reply)
    this.#answer(copyOf(reply))
    if (this.#pushedBytes > this.#limits.pushBytesMax)
      this.#drop(`it left ${this.#pushedBytes} bytes of what it listens to unread`)
    else this.#pumpSoon()
  }

  #drop(reason: string): void {
    this.#closing = true
    this.#socket.destroy(new ClientDropped(reason))
  }

  #receive(chunk: Buffer, isBorrowed: boolean): void {
    if (this.#closing) {
      this.#lingeredBytes += chunk.length
      if (this.#lingeredBytes > this.#limits.lingerBytesMax) this.#socket.destroy()
      return
    }
    this.#wakefulness?.came()
    if (isBorrowed) this.#parser.feedBorrowed(chunk)
    else this.#parser.feed(chunk)
    this.#sliceCommands = 0
    this.#sliceBytes += chunk.length
    this.#pump()
    this.#parser.keep()
    this.#wakefulness?.stay()
  }

  /** The one place that decides what happens next: executes what it may, sends what it can, then reads or does not. */
  #pump(): void {
    if (this.#pumping || this.#socket.destroyed) return
    this.#pumping = true
    const isDrained = this.#executeCommands()
    this.#pumping = false
    this.#send()
    if (isDrained && this.#inputEnded && this.#owed.length === 0) this.#closing = true
    if (this.#closing) this.#finish()
    else if (isDrained) this.#socket.resume()
    else this.#socket.pause()
  }

  /** Executes until the parser has no whole command (true) or something must be waited for (false). */
  #executeCommands(): boolean {
    while (!this.#closing) {
      if (this.#isQueued || !this.#mayRunBeside()) return false
      if (this.#outputBytes() > this.#limits.outputBytesMax) {
        // Perhaps the kernel takes it now; else 'drain' brings us back.
        this.#send()
        if (this.#outputBytes() > this.#limits.outputBytesMax) return false
      }
      if (this.#isSliceOver()) {
        this.#isQueued = true
        this.#queue.join(() => this.#beginSlice())
        return false
      }
      const command = this.#nextCommand()
      if (!command) return true
      this.#execute(command)
    }
    return false
  }

  #mayRunBeside(): boolean {
    const { runningMax, runningBytesMax } = this.#limits
    const { serial, replyBytesDue } = this.#session
    return !serial && this.#runningCount < runningMax && replyBytesDue <= runningBytesMax
  }

  /** The clock is read at every eighth command, from the eighth on: most slices are shorter. */
  #isSliceOver(): boolean {
    // What was read of it, and the replies of this stretch.
    if (this.#sliceBytes + this.#encoder.bytes > this.#limits.sliceBytes) return true
    const count = this.#sliceCommands++
    if (count === 0 || count % 8 !== 0) return false
    const nowMs = this.#clock.monotonicMs()
    if (count === 8) this.#sliceStartMs = nowMs
    return nowMs - this.#sliceStartMs > this.#limits.sliceMs
  }

  #beginSlice(): void {
    this.#isQueued = false
    this.#sliceCommands = 0
    this.#sliceBytes = 0
    this.#pump()
  }

  #outputBytes(): number {
    return this.#encoder.bytes + this.#owedBytes + this.#socket.writableLength
  }

  #nextCommand(): Buffer[] | null {
    try {
      return this.#parser.next()
    } catch (error) {
      if (!(error instanceof MalformedRequest)) throw error
      this.#closing = true
      if (error.reply !== null) this.#answer(new RespError(error.reply))
      return null
    }
  }

  #execute(command: Buffer[]): void {
    let reply: ReplyOrError | Promise<ReplyOrError> | typeof noReply
    try {
      reply = this.#session.execute(command)
    } catch (error) {
      reply = asReply(error)
    }
    if (reply instanceof Promise) this.#await(command, reply)
    else {
      if (reply !== noReply) this.#answer(reply)
      this.#giveBack(command)
    }
    if (this.#session.finished) this.#closing = true
  }

  #answer(reply: ReplyOrError): void {
    if (this.#owed.length === 0) this.#encoder.push(reply)
    else this.#owe({ reply })
  }

  #giveBack(command: Buffer[]): void {
    for (const argument of command) this.#pool.give(argument)
  }

  #await(command: Buffer[], reply: Promise<ReplyOrError>): void {
    const owed: OwedReply = { reply: undefined }
    this.#owe(owed)
    this.#runningCount++
    const settle = (value: ReplyOrError) => {
      this.#giveBack(command)
      owed.reply = value
      this.#owedBytes += sizeOf(value)
      this.#runningCount--
      this.#pumpSoon()
    }
    reply.then(settle, error => settle(asReply(error)))
  }

  #owe(owed: OwedReply): void {
    this.#owed.push(owed)
    if (owed.reply !== undefined) this.#owedBytes += sizeOf(owed.reply)
  }

  /** Replies that settle in one turn leave in one write. */
  #pumpSoon(): void {
    if (this.#pumpPending) return
    this.#pumpPending = true
    queueMicrotask(() => {
      this.#pumpPending = false
      this.#pump()
    })
  }

  #send(): void {
    let sentCount = 0
    for (const { reply } of this.#owed) {
      if (reply === undefined) break
      this.#encoder.push(reply)
      this.#owedBytes -= sizeOf(reply)
      sentCount++
    }
    if (sentCount > 0) this.#owed.splice(0, sentCount)
    const chunks = this.#encoder.take()
    if (chunks.length === 0) return
    const last = chunks.length - 1
    const isLent = chunks.some(chunk => this.#pool.isLent(chunk))
    // Corked only where there is something to join: it takes a longer way.
    if (last > 0) this.#socket.cork()
    for (let at = 0; at < last; at++) this.#socket.write(chunks[at]!)
    // Chunks leave in their order: one callback tells of all. A write without one needs no tick behind it.
    if (isLent) this.#socket.write(chunks[last]!, error => this.#sent(chunks, error))
    else this.#socket.write(chunks[last]!)
    if (last > 0) this.#socket.uncork()
    if (this.#socket.writableLength === 0) this.#encoder.reuse()
  }

  /** Values that the engine read into memory of the pool are with the kernel now. */
  #sent(chunks: readonly Buffer[], error: Error | null | undefined): void {
    if (!error) for (const chunk of chunks) this.#pool.give(chunk)
  }

  /** Replies that are owed still go out; then the connection is closed, without the reset that unread bytes cause. */
  #finish(): void {
    if (this.#owed.length > 0 || this.#socket.writableEnded) return
    this.#socket.end(() => {
      if (this.#socket.destroyed) return
      // All of it is with the kernel. How long that took was up to `unreadMs`.
      const cancel = this.#clock.schedule(this.#limits.lingerMs, () => this.#socket.destroy())
      this.#socket.once('close', cancel)
    })
    this.#socket.resume()
  }
}

function asReply(error: unknown): RespError {
  if (error instanceof RespError) return error
  throw error
}

function copyOf(reply: ReplyOrError): ReplyOrError {
  if (Buffer.isBuffer(reply)) return Buffer.from(reply)
  return Array.isArray(reply) ? reply.map(copyOf) : reply
}

/** Roughly what a waiting reply holds in memory. */
function sizeOf(reply: ReplyOrError): number {
  if (Buffer.isBuffer(reply)) return reply.length + 64
  if (Array.isArray(reply)) return reply.reduce((sum: number, element: ReplyOrError) => sum + sizeOf(element), 64)
  return 64
}
