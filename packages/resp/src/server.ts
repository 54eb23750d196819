import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { umask } from 'node:process'
import type { Clock } from '@qsfs/concurrency/clock'
import { RunQueue } from '@qsfs/concurrency/run-queue'
import { BulkPool } from './bulk-pool.ts'
import { Connection, type Outlet, type RespSession, type SharedByConnections } from './connection.ts'
import { ReplyEncoder } from './encoder.ts'
import { type ConnectionLimits, defaultConnectionLimits } from './limits.ts'
import { RespError } from './reply.ts'
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
}

export type ListenAddress = { readonly path: string } | { readonly host: string; readonly port: number }

/** A TCP peer that is silent for a minute is asked whether it still exists, ten times, once a second (Node's TCP_KEEPCNT and TCP_KEEPINTVL). */
const socketOptions = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }

/** Listens on unix sockets and TCP ports and answers every connection through its session. */
export class RespServer implements AsyncDisposable {
  readonly #options: RespServerOptions
  readonly #servers: Server[] = []
  readonly #connections = new Set<Connection>()
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

  /** The TCP port, when one was asked for (0 asks for any). */
  get port(): number | undefined {
    for (const server of this.#servers) {
      const address = server.address()
      if (address && typeof address === 'object') return (address as AddressInfo).port
    }
    return undefined
  }

  /** Stops listening and drops every connection; unix socket files are removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#servers.filter(server => server.listening).map(server => once(server, 'close'))
    for (const server of this.#servers) server.close()
    for (const connection of this.#connections) connection.destroy()
    await Promise.all(closed)
  }

  async #listen(address: ListenAddress): Promise<void> {
    if ('path' in address) await clearStaleSocket(address.path)
    const server = createServer(socketOptions, socket => this.#accept(socket))
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

  #accept(socket: Socket): void {
    const { clientsMax, onConnectionError, openSession, limits = defaultConnectionLimits } = this.#options
    this.#acceptedCount++
    if (this.#connections.size >= clientsMax) {
      const encoder = new ReplyEncoder()
      encoder.push(new RespError('ERR max number of clients reached'))
      socket.on('error', onConnectionError)
      socket.end(Buffer.concat(encoder.take()), () => socket.destroy())
      return
    }
    const connection = new Connection(socket, openSession, this.#shared, limits)
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
