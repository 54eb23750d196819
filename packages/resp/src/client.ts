import { strict as assert } from 'node:assert'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { Command, Redis } from 'ioredis'
import { socketOptions } from './connect/address.ts'
import { ClientConnection, ConnectionLost, type RespClientOptions } from './connect/client-connection.ts'
import { parsePositions } from './connect/introduction.ts'
import { SilenceWatch } from './connect/silence-watch.ts'
import { type Reply, type ReplyOrError, RespError } from './reply.ts'

export { ConnectionLost, parsePositions, type Reply, type ReplyOrError, type RespClientOptions, RespError }

/** From here on an argument is not copied into the command. */
const largeBytes = 16 * 1024

/** ioredis copies all arguments into one fresh buffer; for blocks that copy, and the collector's work after it, cost more than
 *  the sending. Here the pieces go to the socket as they are, in one writev. */
class LargeCommand extends Command {
  override toWritable(socket: object): string {
    const stream = socket as Writable
    stream.cork()
    queueMicrotask(() => stream.uncork())
    let head = `*${this.args.length + 1}\r\n$${this.name.length}\r\n${this.name}\r\n`
    for (const argument of this.args as (string | Buffer)[]) {
      stream.write(`${head}$${Buffer.byteLength(argument)}\r\n`)
      stream.write(argument)
      head = '\r\n'
    }
    return '\r\n'
  }
}

/** One connection by ioredis. No reconnect, no resend, no offline queue: ioredis's defaults were seen to repeat a SET by
 *  themselves, in another namespace. */
export class RespClient extends ClientConnection {
  readonly #redis: Redis
  readonly #watch: SilenceWatch

  private constructor({ address, tls, connectTimeoutMs = 10_000, commandTimeoutMs = 0 }: RespClientOptions) {
    super()
    // A timed-out command would stay in ioredis's queue and take the next reply as its own, so the connection goes.
    this.#watch = new SilenceWatch(commandTimeoutMs, error => {
      this.failed(error)
      this.drop()
    })
    this.#redis = new Redis({
      ...socketOptions(address, tls),
      protocol: 2,
      enableReadyCheck: false,
      disableClientInfo: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      enableAutoPipelining: false,
      lazyConnect: true,
      connectTimeout: connectTimeoutMs,
    })
    this.#redis.on('error', (error: Error) => this.failed(error))
    this.#redis.once('end', () => {
      this.#watch[Symbol.dispose]()
      this.ended()
    })
  }

  /** @throws RespError when the server refuses a step, ConnectionLost when it does not answer; nothing stays open */
  static async connect(options: RespClientOptions): Promise<RespClient> {
    return new RespClient(options).open(options)
  }

  /** Sends one command. Simple strings arrive as Buffers, like bulks; small Buffers may be views of a receive buffer,
   *  so copy what is kept.
   *  @throws RespError (also as an element of an array reply), ConnectionLost */
  async call(...args: readonly (string | Buffer)[]): Promise<Reply> {
    const [name, ...rest] = args
    assert(typeof name === 'string', 'a command name is a string')
    // A plain Uint8Array would be stored as the text "1,2,3".
    for (const argument of rest) assert(typeof argument === 'string' || Buffer.isBuffer(argument))
    this.#watch.commandSent()
    try {
      const command = rest.some(argument => argument.length >= largeBytes)
        ? this.#redis.sendCommand(new LargeCommand(name, rest, { replyEncoding: null }))
        : this.#redis.callBuffer(name, ...(rest as [string | Buffer]))
      return toReply(await command)
    } catch (error) {
      throw this.#toError(error)
    } finally {
      this.#watch.commandEnded()
    }
  }

  protected async openSocket(): Promise<Socket> {
    await this.#redis.connect()
    return this.#redis.stream as Socket
  }

  protected drop(): void {
    this.#redis.disconnect()
  }

  #toError(error: unknown): Error {
    // ioredis's error carries the command with its arguments: passwords and payloads that belong in no log.
    if (error instanceof Error && error.name === 'ReplyError') return new RespError(error.message)
    return this.lost(error)
  }
}

function toReply(value: unknown): Reply {
  if (Array.isArray(value)) {
    return value.map(element => (element instanceof Error ? new RespError(element.message) : toReply(element)))
  }
  return value as Reply
}
