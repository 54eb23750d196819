import { strict as assert } from 'node:assert'
import type { Writable } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { NamespacePosition } from '@qsfs/protocol/cachedb-commands'
import { Command, Redis } from 'ioredis'
import { type Reply, type ReplyOrError, RespError } from './reply.ts'
import { SilenceWatch } from './silence-watch.ts'
import { checkPeer, type TlsClientOptions, type TlsPeer, tlsConnectOptions } from './tls/peer.ts'

export { type Reply, type ReplyOrError, RespError }

export interface RespClientOptions {
  /** `unix:/path`, `host:port` or `[v6]:port`, or either of these as `tls://host:port`. */
  readonly address: string
  /** For an address with tls://. */
  readonly tls?: TlsClientOptions
  readonly adminPassword?: string
  readonly namespace?: string
  readonly namespacePassword?: string
  /** Sent as `OWNER token namespace…`, the last step before the connection exists for its user. */
  readonly owner?: { readonly token: string; readonly namespaces: readonly string[] }
  readonly connectTimeoutMs?: number
  /** The connection is destroyed when commands wait and no reply comes for this long; 0 waits for ever. */
  readonly commandTimeoutMs?: number
}

/** The connection is gone: what was sent may have been executed or not. It never comes back; connect a new one. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
}

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

/** One connection: connect → AUTH → SELECT → OWNER → use. No reconnect, no resend, no offline queue: ioredis's defaults
 *  were seen to repeat a SET by themselves, in another namespace. */
export class RespClient implements AsyncDisposable {
  readonly #redis: Redis
  readonly #watch: SilenceWatch
  readonly #closed = Promise.withResolvers<Error | undefined>()
  #lastError: Error | undefined
  #disposed = false
  #positions: readonly NamespacePosition[] = []
  #tlsPeer: TlsPeer | null = null

  private constructor(options: RespClientOptions) {
    const { address, tls, connectTimeoutMs = 10_000, commandTimeoutMs = 0 } = options
    // A timed-out command would stay in ioredis's queue and take the next reply as its own, so the connection goes.
    this.#watch = new SilenceWatch(commandTimeoutMs, error => {
      this.#lastError = error
      this.#redis.disconnect()
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
    this.#redis.on('error', (error: Error) => {
      this.#lastError = error
    })
    this.#redis.once('end', () => {
      this.#watch[Symbol.dispose]()
      this.#closed.resolve(this.#disposed ? undefined : (this.#lastError ?? new ConnectionLost('closed by the server')))
    })
  }

  /** @throws RespError when the server refuses a step, ConnectionLost when it does not answer; nothing stays open */
  static async connect(options: RespClientOptions): Promise<RespClient> {
    const client = new RespClient(options)
    try {
      await client.#handshake(options)
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

  /** What the TLS handshake agreed on; null without TLS. */
  get tlsPeer(): TlsPeer | null {
    return this.#tlsPeer
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

  /** Drops the connection; commands in flight reject with ConnectionLost. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    if (this.#redis.status === 'end') return
    this.#redis.disconnect()
    await this.#closed.promise
  }

  async #handshake(options: RespClientOptions): Promise<void> {
    try {
      await this.#redis.connect()
      // Nothing was sent yet: no password goes to the wrong server.
      if (this.#redis.stream instanceof TLSSocket) this.#tlsPeer = checkPeer(this.#redis.stream, options.tls ?? {})
    } catch (error) {
      const cause = this.#lastError ?? (error as Error)
      throw new ConnectionLost(`cannot connect to ${options.address}: ${cause.message}`, { cause })
    }
    this.#positions = await introduce((...args) => this.call(...args), options)
  }

  #toError(error: unknown): Error {
    // ioredis's error carries the command with its arguments: passwords and payloads that belong in no log.
    if (error instanceof Error && error.name === 'ReplyError') return new RespError(error.message)
    const cause = this.#lastError ?? error
    return new ConnectionLost(`connection lost: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/** The first commands of a connection: AUTH, SELECT, OWNER.
 *  @returns what OWNER answered
 *  @throws RespError when the server refuses one */
export async function introduce(
  call: (...args: readonly string[]) => Promise<Reply>,
  { adminPassword, namespace, namespacePassword, owner }: RespClientOptions,
): Promise<readonly NamespacePosition[]> {
  if (adminPassword !== undefined) await call('AUTH', adminPassword)
  if (namespace !== undefined)
    await call('SELECT', namespace, ...(namespacePassword === undefined ? [] : [namespacePassword]))
  return owner ? parsePositions(await call('OWNER', owner.token, ...owner.namespaces)) : []
}

/** Reads the reply of OWNER or FSYNC.
 *  @throws TypeError when it has another shape */
export function parsePositions(reply: Reply): readonly NamespacePosition[] {
  if (!Array.isArray(reply)) throw new TypeError('positions are an array')
  return reply.map((position: ReplyOrError) => {
    if (!Array.isArray(position) || position.length !== 5) throw new TypeError('a position has five fields')
    const [instance, nextId, appended, synced, incarnation] = position
    return {
      instance: String(instance),
      nextId: Number(nextId),
      appended: Number(appended),
      synced: Number(synced),
      incarnation: String(incarnation),
    }
  })
}

function socketOptions(address: string, tls: TlsClientOptions = {}) {
  if (!address.startsWith('tls://')) return parseAddress(address)
  const place = parseAddress(address.slice('tls://'.length))
  if ('path' in place) throw new TypeError(`address ${address} is not tls://host:port`)
  return { ...place, tls: tlsConnectOptions(place.host, tls) }
}

/** @throws TypeError when it is none */
export function parseAddress(address: string): { path: string } | { host: string; port: number } {
  if (address.startsWith('unix:')) return { path: address.slice('unix:'.length) }
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  if (!match) throw new TypeError(`address ${address} is neither unix:/path nor host:port`)
  return { host: (match[1] ?? match[2])!, port: Number(match[3]) }
}

function toReply(value: unknown): Reply {
  if (Array.isArray(value)) {
    return value.map(element => (element instanceof Error ? new RespError(element.message) : toReply(element)))
  }
  return value as Reply
}
