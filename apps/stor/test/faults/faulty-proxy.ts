import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { RespClient } from '@qsfs/resp/client'
import { ReplyEncoder } from '@qsfs/resp/encoder'
import { defaultLimits, RespParser } from '@qsfs/resp/parser'
import { type ReplyOrError, RespError } from '@qsfs/resp/reply'

/** Instead of an answer: none, the connection gone, or half of it and then none. */
export type Quirk = { readonly quirk: 'hang' | 'cut' } | { readonly quirk: 'half'; readonly of: ReplyOrError }
/** What a backend makes of a command; `next` has it done by the real server, as it is or with other arguments. */
export type Behaviour = (
  command: { readonly name: string; readonly args: readonly Buffer[] },
  next: (args?: readonly (Buffer | string)[]) => Promise<ReplyOrError>,
) => Promise<ReplyOrError | Quirk>

export const honest: Behaviour = (_, next) => next()

/** Stands between stor and one namespace of a real cachedb, and does to commands and answers what it is told to. */
export class FaultyProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #upstream: string
  readonly #sockets = new Set<Socket>()
  behaviour: Behaviour = honest
  /** Nobody is there: connections are cut as they come. */
  isGone = false

  private constructor(upstream: string) {
    this.#upstream = upstream
    this.#server = createServer({ noDelay: true }, socket => this.#accept(socket))
  }

  static async before(upstream: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(upstream)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get address(): string {
    const address = this.#server.address()
    return `127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  }

  /** Every connection is lost. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept(socket: Socket): void {
    socket.on('error', () => undefined)
    if (this.isGone) return void socket.destroy()
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    const parser = new RespParser(defaultLimits)
    const upstream = RespClient.connect({ address: this.#upstream })
    socket.once('close', () => upstream.then(client => client[Symbol.asyncDispose]()).catch(() => undefined))
    let turn: Promise<unknown> = upstream.catch(() => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      parser.feed(chunk)
      for (let command = parser.next(); command !== null; command = parser.next()) {
        const words = command.map(word => Buffer.from(word))
        turn = turn.then(() => this.#serve(socket, upstream, words)).catch(() => socket.destroy())
      }
    })
  }

  /** One command after the other, as replies have their order. */
  async #serve(socket: Socket, upstream: Promise<RespClient>, words: readonly Buffer[]): Promise<void> {
    if (socket.destroyed) return
    const client = await upstream
    const [name = '', ...args] = words
    const next = async (changed: readonly (Buffer | string)[] = args): Promise<ReplyOrError> => {
      try {
        return await client.call(String(name), ...changed)
      } catch (error) {
        if (error instanceof RespError) return error
        throw error
      }
    }
    const reply = await this.behaviour({ name: String(name).toUpperCase(), args }, next)
    if (!isQuirk(reply)) return void socket.write(encoded(reply))
    if (reply.quirk === 'cut') return void socket.destroy()
    if (reply.quirk === 'half') {
      const bytes = encoded(reply.of)
      socket.write(bytes.subarray(0, bytes.length >> 1))
    }
    // Whatever comes after it on this connection waits as well.
    await once(socket, 'close')
  }
}

function isQuirk(reply: ReplyOrError | Quirk): reply is Quirk {
  return typeof reply === 'object' && reply !== null && 'quirk' in reply
}

function encoded(reply: ReplyOrError): Buffer {
  const encoder = new ReplyEncoder()
  encoder.push(reply)
  return Buffer.concat(encoder.take())
}
