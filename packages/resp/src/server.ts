import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { umask } from 'node:process'
import { createServer as createTlsServer } from 'node:tls'
import type { Clock } from '@qsfs/concurrency/clock'
import { RunQueue } from '@qsfs/concurrency/run-queue'
import type { Wakefulness } from '@qsfs/concurrency/wakefulness'
import { BulkPool } from './bulk-pool.ts'
import { Connection, type Outlet, type RespSession, type SharedByConnections } from './connection.ts'
import { ReplyEncoder } from './encoder.ts'
import { type ConnectionLimits, defaultConnectionLimits } from './limits.ts'
import { RespError } from './reply.ts'
import { type TlsGroup, tlsSettings } from './tls/groups.ts'
import type { TlsIdentity } from './tls/identity.ts'
import { clearStaleSocket, SocketUnavailable } from './unix-socket.ts'

export { SocketUnavailable }

export interface RespServerOptions {
  readonly openSession: (outlet: Outlet) => RespSession
  readonly clientsMax: number
  /** Connections are accepted at once; their commands are executed when this settles. Must not reject. */
  readonly opens?: Promise<void>
  readonly clock: Clock
  /** A connection broke: ECONNRESET and the like; ClientDropped when it was us. */
  readonly onConnectionError: (error: Error) => void
  readonly limits?: ConnectionLimits
  /** Where memory for large values comes from, when somebody else uses it too. */
  readonly pool?: BulkPool
  /** Stays awake for the next command of a client. */
  readonly wakefulness?: Wakefulness
}

export type ListenAddress = { readonly path: string } | TcpAddress

export interface TcpAddress {
  readonly host: string
  readonly port: number
  /** Absent: in clear. */
  readonly tls?: TlsListenOptions
}

export interface TlsListenOptions {
  readonly identity: TlsIdentity
  /** A client that offers none of them is refused. */
  readonly groups: readonly TlsGroup[]
}

/** A TCP peer that is silent for a minute is asked whether it still exists, ten times, once a second (Node's TCP_KEEPCNT and TCP_KEEPINTVL). */
const socketOptions = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }

/** For a TLS handshake. */
const handshakeMs = 10_000

/** Listens on unix sockets and TCP ports, in clear or by TLS 1.3, and answers every connection through its session. */
export class RespServer implements AsyncDisposable {
  readonly #options: RespServerOptions
  readonly #servers: Server[] = []
  readonly #connections = new Set<Connection>()
  /** What TLS speaks over, from before the handshake on. */
  readonly #tlsSockets = new Set<Socket>()
  readonly #shared: SharedByConnections
  #acceptedCount = 0
  #isWatching = false
  /** Of connections that are closed. */
  #pastBytesRead = 0
  #pastBytesWritten = 0

  private constructor(options: RespServerOptions) {
    const { receiveBytes } = options.limits ?? defaultConnectionLimits
    this.#options = options
    this.#shared = {
      clock: options.clock,
      queue: new RunQueue(),
      opens: options.opens ?? null,
      pool: options.pool ?? new BulkPool(),
      receiveBuffer: receiveBytes > 0 ? Buffer.allocUnsafeSlow(receiveBytes) : null,
      wakefulness: options.wakefulness ?? null,
    }
    void options.opens?.then(() => {
      this.#shared.opens = null
    })
  }

  /** @throws SocketUnavailable when an address cannot be had; nothing listens then */
  static async listen(addresses: readonly ListenAddress[], options: RespServerOptions): Promise<RespServer> {
    await using opening = new AsyncDisposableStack()
    const server = opening.use(new RespServer(options))
    for (const address of addresses) await server.#listen(address)
    opening.move()
    return server
  }

  /** Connections open now. */
  get clientCount(): number {
    return this.#connections.size
  }

  /** Connections accepted since the start. */
  get acceptedCount(): number {
    return this.#acceptedCount
  }

  /** Bytes of all connections since the start. */
  get traffic(): { readonly bytesRead: number; readonly bytesWritten: number } {
    const now = { bytesRead: this.#pastBytesRead, bytesWritten: this.#pastBytesWritten }
    for (const { bytesRead, bytesWritten } of this.#connections) {
      now.bytesRead += bytesRead
      now.bytesWritten += bytesWritten
    }
    return now
  }

  /** The ports in use, in the order of the TCP addresses that were asked for: 0 asked for any. */
  get ports(): readonly number[] {
    const addresses = this.#servers.map(server => server.address())
    return addresses.flatMap(address => (address !== null && typeof address === 'object' ? [address.port] : []))
  }

  /** Stops listening and drops every connection; unix socket files are removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#servers.filter(server => server.listening).map(server => once(server, 'close'))
    for (const server of this.#servers) server.close()
    for (const connection of this.#connections) connection.destroy()
    for (const socket of this.#tlsSockets) socket.destroy()
    await Promise.all(closed)
  }

  async #listen(address: ListenAddress): Promise<void> {
    if ('path' in address) await clearStaleSocket(address.path)
    const server = this.#createServer(address)
    this.#servers.push(server)
    const listening = once(server, 'listening')
    // bind(2) happens inside listen(): the mask makes the socket ours alone from its first moment.
    const previousMask = umask(0o077)
    try {
      server.listen(address)
    } finally {
      umask(previousMask)
    }
    try {
      await listening
    } catch (error) {
      const name = 'path' in address ? address.path : `${address.host}:${address.port}`
      throw new SocketUnavailable(`cannot listen on ${name}: ${(error as Error).message}`, { cause: error })
    }
  }

  #createServer(address: ListenAddress): Server {
    if (!('tls' in address) || address.tls === undefined)
      return createServer(socketOptions, socket => this.#accept(socket, this.#shared))
    const { identity, groups } = address.tls
    const options = { ...socketOptions, ...tlsSettings(groups), handshakeTimeout: handshakeMs }
    const server = createTlsServer({ ...options, cert: identity.certificates, key: identity.key })
    // TLS decrypts into memory of its own.
    server.on('secureConnection', socket => this.#accept(socket, { ...this.#shared, receiveBuffer: null }))
    server.on('tlsClientError', (error, socket) => {
      // Node leaves it open, and a half-open one would stay for ever.
      socket.destroy()
      this.#options.onConnectionError(error)
    })
    server.on('connection', (socket: Socket) => {
      this.#tlsSockets.add(socket)
      socket.once('close', () => this.#tlsSockets.delete(socket))
    })
    server.maxConnections = this.#options.clientsMax
    return server
  }

  #accept(socket: Socket, shared: SharedByConnections): void {
    const { clientsMax, onConnectionError, openSession, limits = defaultConnectionLimits } = this.#options
    this.#acceptedCount++
    if (this.#connections.size >= clientsMax) {
      const encoder = new ReplyEncoder()
      encoder.push(new RespError('ERR max number of clients reached'))
      socket.on('error', onConnectionError)
      socket.end(Buffer.concat(encoder.take()), () => socket.destroy())
      return
    }
    const connection = new Connection(socket, openSession, shared, limits)
    this.#connections.add(connection)
    this.#watchProgress()
    socket.on('error', onConnectionError)
    socket.once('close', () => {
      this.#connections.delete(connection)
      this.#pastBytesRead += connection.bytesRead
      this.#pastBytesWritten += connection.bytesWritten
    })
  }

  /** Looks at all connections each second, as long as there are any. */
  #watchProgress(): void {
    if (this.#isWatching) return
    this.#isWatching = true
    this.#options.clock.schedule(1000, () => {
      this.#isWatching = false
      for (const connection of this.#connections) connection.checkProgress()
      if (this.#connections.size > 0) this.#watchProgress()
    })
  }
}
