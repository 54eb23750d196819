import { strict as assert } from 'node:assert'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { NamespacePosition } from '@qsfs/protocol/cachedb-commands'
import type { BulkPool } from './bulk-pool.ts'
import { ConnectionLost, introduce, parseAddress, type RespClientOptions } from './client.ts'
import { type Reply, type ReplyOrError, RespError } from './reply.ts'
import { MalformedReply, ReplyParser } from './reply-parser.ts'
import { SilenceWatch } from './silence-watch.ts'

const receiveBytes = 256 * 1024
/** From here on an argument is not copied. */
const largeBytes = 16 * 1024

/** One connection for many large values, as RespClient in all else. ioredis reads 64 KiB into fresh memory each time and joins
 *  the pieces of a value in more of it; here the socket is read into one buffer for ever, a value lies in memory of the pool,
 *  and the commands of one turn leave in one writev. */
export class BulkClient implements AsyncDisposable {
  readonly #socket: Socket
  readonly #parser: ReplyParser
  readonly #watch: SilenceWatch
  readonly #closed = Promise.withResolvers<Error | undefined>()
  /** In the order of sending, which is the order of the replies. */
  readonly #waiting: PromiseWithResolvers<Reply>[] = []
  #unsent: Buffer[] = []
  #lastError: Error | undefined
  #disposed = false
  #positions: readonly NamespacePosition[] = []

  private constructor({ address, commandTimeoutMs = 0 }: RespClientOptions, pool: BulkPool) {
    this.#parser = new ReplyParser(pool, reply => this.#answered(reply))
    this.#watch = new SilenceWatch(commandTimeoutMs, error => this.#socket.destroy(error))
    const buffer = Buffer.allocUnsafeSlow(receiveBytes)
    const callback = (lengthBytes: number) => this.#receive(buffer.subarray(0, lengthBytes))
    this.#socket = connect({ ...parseAddress(address), onread: { buffer, callback } })
    this.#socket.setNoDelay(true)
    this.#socket.on('error', error => {
      this.#lastError = error
    })
    this.#socket.once('close', () => this.#end())
  }

  /** @param pool who knows that a bulk reply is of no more use may give it back there
   *  @throws RespError when the server refuses a step, ConnectionLost when it does not answer; nothing stays open */
  static async connect(options: RespClientOptions, pool: BulkPool): Promise<BulkClient> {
    const client = new BulkClient(options, pool)
    try {
      await client.#open(options)
      client.#positions = await introduce((...args) => client.call(...args), options)
      return client
    } catch (error) {
      await client[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Settles once the connection is gone: undefined when we closed it, else why. */
  get closed(): Promise<Error | undefined> {
    return this.#closed.promise
  }

  /** What OWNER answered, one per namespace in the order asked for. */
  get positions(): readonly NamespacePosition[] {
    return this.#positions
  }

  /** Sends one command, with those of the same turn. Large arguments are not copied: they must not change before the reply.
   *  Simple strings arrive as Buffers, like bulks.
   *  @throws RespError (also as an element of an array reply), ConnectionLost */
  async call(...args: readonly (string | Buffer)[]): Promise<Reply> {
    if (this.#socket.destroyed) throw this.#lost()
    const encoded = encode(args)
    if (this.#unsent.length === 0) queueMicrotask(() => this.#send())
    this.#unsent.push(...encoded)
    this.#watch.commandSent()
    const waiting = Promise.withResolvers<Reply>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  /** Drops the connection; commands in flight reject with ConnectionLost. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    this.#socket.destroy()
    await this.#closed.promise
  }

  async #open({ address, connectTimeoutMs = 10_000 }: RespClientOptions): Promise<void> {
    try {
      await once(this.#socket, 'connect', { signal: AbortSignal.timeout(connectTimeoutMs) })
    } catch (cause) {
      throw new ConnectionLost(`cannot connect to ${address}: ${(cause as Error).message}`, { cause })
    }
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
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#lost())
    this.#closed.resolve(this.#disposed ? undefined : (this.#lastError ?? new ConnectionLost('closed by the server')))
  }

  #lost(): ConnectionLost {
    const cause = this.#lastError
    return new ConnectionLost(`connection lost: ${cause?.message ?? 'closed'}`, { cause })
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
