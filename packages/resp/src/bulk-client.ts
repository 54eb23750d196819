import { strict as assert } from 'node:assert'
import { once } from 'node:events'
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { socketOptions } from './connect/address.ts'
import { ClientConnection, type RespClientOptions } from './connect/client-connection.ts'
import { SilenceWatch } from './connect/silence-watch.ts'
import { type Reply, type ReplyOrError, RespError } from './reply.ts'
import { type BulkMemory, MalformedReply, ReplyParser } from './reply-parser.ts'

const receiveBytes = 256 * 1024
/** From here on an argument is not copied. */
const largeBytes = 16 * 1024

/** One connection for many large values, as RespClient in all else. ioredis reads 64 KiB into fresh memory each time and joins
 *  the pieces of a value in more of it; here the socket is read into one buffer for ever, a value lies in memory that it is
 *  given, and the commands of one turn leave in one writev. */
export class BulkClient extends ClientConnection {
  readonly #socket: Socket
  readonly #connectEvent: 'connect' | 'secureConnect'
  readonly #parser: ReplyParser
  readonly #watch: SilenceWatch
  /** In the order of sending, which is the order of the replies. */
  readonly #waiting: PromiseWithResolvers<Reply>[] = []
  #unsent: Buffer[] = []

  private constructor({ address, tls, commandTimeoutMs = 0 }: RespClientOptions, memory: BulkMemory) {
    super()
    this.#parser = new ReplyParser(memory, reply => this.#answered(reply))
    this.#watch = new SilenceWatch(commandTimeoutMs, error => this.#socket.destroy(error))
    const buffer = Buffer.allocUnsafeSlow(receiveBytes)
    const callback = (lengthBytes: number) => this.#receive(buffer.subarray(0, lengthBytes))
    const { tls: encryption, ...place } = socketOptions(address, tls)
    const options = { ...place, ...encryption, onread: { buffer, callback } }
    this.#connectEvent = encryption ? 'secureConnect' : 'connect'
    this.#socket = encryption ? connectTls(options) : connectPlain(options)
    this.#socket.setNoDelay(true)
    this.#socket.on('error', error => this.failed(error))
    this.#socket.once('close', () => this.#end())
  }

  /** @param memory who lends it may take a bulk reply back that is of no more use
   *  @throws RespError when the server refuses a step, ConnectionLost when it does not answer; nothing stays open */
  static async connect(options: RespClientOptions, memory: BulkMemory): Promise<BulkClient> {
    return new BulkClient(options, memory).open(options)
  }

  /** Sends one command, with those of the same turn. Large arguments are not copied: they must not change before the reply.
   *  Simple strings arrive as Buffers, like bulks.
   *  @throws RespError (also as an element of an array reply), ConnectionLost */
  async call(...args: readonly (string | Buffer)[]): Promise<Reply> {
    if (this.#socket.destroyed) throw this.lost()
    const encoded = encode(args)
    if (this.#unsent.length === 0) queueMicrotask(() => this.#send())
    this.#unsent.push(...encoded)
    this.#watch.commandSent()
    const waiting = Promise.withResolvers<Reply>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  protected async openSocket(timeoutMs: number): Promise<Socket> {
    const tooLate = AbortSignal.timeout(timeoutMs)
    try {
      await once(this.#socket, this.#connectEvent, { signal: tooLate })
    } catch (error) {
      if (!tooLate.aborted) throw error
      throw Object.assign(new Error(`no answer within ${timeoutMs} ms`, { cause: error }), { code: 'ETIMEDOUT' })
    }
    return this.#socket
  }

  protected drop(): void {
    this.#socket.destroy()
  }

  #send(): void {
    const unsent = this.#unsent
    this.#unsent = []
    if (this.#socket.destroyed) return
    this.#socket.cork()
    let small: Buffer[] = []
    for (const part of unsent) {
      if (part.length < largeBytes) small.push(part)
      else {
        this.#socket.write(Buffer.concat(small))
        this.#socket.write(part)
        small = []
      }
    }
    this.#socket.write(Buffer.concat(small))
    this.#socket.uncork()
  }

  /** @returns true: go on reading */
  #receive(bytes: Buffer): boolean {
    try {
      this.#parser.feed(bytes)
    } catch (error) {
      this.#socket.destroy(error as Error)
    }
    return true
  }

  #answered(reply: ReplyOrError): void {
    const waiting = this.#waiting.shift()
    if (!waiting) throw new MalformedReply('nobody waits for a reply')
    this.#watch.commandEnded()
    if (reply instanceof RespError) waiting.reject(reply)
    else waiting.resolve(reply)
  }

  #end(): void {
    this.#watch[Symbol.dispose]()
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.lost())
    this.ended()
  }
}

function encode(args: readonly (string | Buffer)[]): Buffer[] {
  const parts: Buffer[] = []
  let head = `*${args.length}\r\n`
  for (const argument of args) {
    assert(typeof argument === 'string' || Buffer.isBuffer(argument))
    const bytes = typeof argument === 'string' ? Buffer.from(argument) : argument
    parts.push(Buffer.from(`${head}$${bytes.length}\r\n`), bytes)
    head = '\r\n'
  }
  parts.push(lineEnd)
  return parts
}

const lineEnd = Buffer.from('\r\n')
