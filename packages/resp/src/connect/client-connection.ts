import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { NamespacePosition } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '../reply.ts'
import { checkPeer, type TlsClientOptions, type TlsPeer, tlsFailure } from '../tls/peer.ts'
import { type Introduction, type IntroductionOptions, introduce, type PasswordsSent } from './introduction.ts'

export interface RespClientOptions extends IntroductionOptions {
  /** `unix:/path`, `host:port` or `[v6]:port`, or either of these as `tls://host:port`. */
  readonly address: string
  /** For an address with tls://. */
  readonly tls?: TlsClientOptions
  readonly connectTimeoutMs?: number
  /** The connection is destroyed when commands wait and no reply comes for this long; 0 waits for ever. */
  readonly commandTimeoutMs?: number
}

/** The connection is gone: what was sent may have been executed or not. It never comes back; connect a new one. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
}

const defaultConnectTimeoutMs = 10_000

/** What all clients share: connect → handshake → AUTH → SELECT → OWNER → use, once, and an end that is told once. */
export abstract class ClientConnection implements AsyncDisposable {
  readonly #closed = Promise.withResolvers<Error | undefined>()
  #introduction: Introduction = { positions: [], passwordsSent: 'none' }
  #tlsPeer: TlsPeer | null = null
  #lastError: Error | undefined
  #isDisposed = false
  #isEnded = false

  /** Settles once the connection is gone: undefined when we closed it, else why. */
  get closed(): Promise<Error | undefined> {
    return this.#closed.promise
  }

  /** What OWNER answered, one per namespace in the order asked for. */
  get positions(): readonly NamespacePosition[] {
    return this.#introduction.positions
  }

  get passwordsSent(): PasswordsSent {
    return this.#introduction.passwordsSent
  }

  /** What the TLS handshake agreed on; null without TLS. */
  get tlsPeer(): TlsPeer | null {
    return this.#tlsPeer
  }

  /** Sends one command. Simple strings arrive as Buffers, like bulks.
   *  @throws RespError (also as an element of an array reply), ConnectionLost */
  abstract call(...args: readonly (string | Buffer)[]): Promise<Reply>

  /** Drops the connection; commands in flight reject with ConnectionLost. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true
    if (!this.#isEnded) this.drop()
    await this.#closed.promise
  }

  /** Connects, with the handshake of TLS, but sends no command. */
  protected abstract openSocket(timeoutMs: number): Promise<Socket>

  /** Destroys the socket; `ended` is called when that is done. */
  protected abstract drop(): void

  /** @throws RespError when the server refuses a step, ConnectionLost when it does not answer; nothing stays open */
  protected async open(options: RespClientOptions): Promise<this> {
    try {
      this.#tlsPeer = await this.#connect(options)
      this.#introduction = await introduce((...args) => this.call(...args), options)
      return this
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
  }

  /** The reason, should the connection end now. */
  protected failed(error: Error): void {
    this.#lastError = error
  }

  protected ended(): void {
    this.#isEnded = true
    const reason = this.#lastError ?? new ConnectionLost('closed by the server')
    this.#closed.resolve(this.#isDisposed ? undefined : reason)
  }

  protected lost(reason?: unknown): ConnectionLost {
    const cause = this.#lastError ?? reason
    return new ConnectionLost(`connection lost: ${cause instanceof Error ? cause.message : 'closed'}`, { cause })
  }

  async #connect({ address, tls = {}, connectTimeoutMs = defaultConnectTimeoutMs }: RespClientOptions) {
    try {
      const socket = await this.openSocket(connectTimeoutMs)
      // Nothing was sent yet: no password goes to the wrong server.
      return socket instanceof TLSSocket ? checkPeer(socket, tls) : null
    } catch (error) {
      const cause = tlsFailure(this.#lastError ?? (error as Error), tls)
      throw new ConnectionLost(`cannot connect to ${address}: ${cause.message}`, { cause })
    }
  }
}
