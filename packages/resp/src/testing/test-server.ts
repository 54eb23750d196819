import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { BulkPool } from '../bulk-pool.ts'
import type { Outlet, RespSession } from '../connection.ts'
import { type MaybePromise, noReply, type Reply, RespError } from '../reply.ts'
import { type ListenAddress, RespServer, type RespServerOptions } from '../server.ts'

/** What the sessions of a test server share. */
export interface SharedBySessions {
  /** In order, of all sessions. */
  readonly executed: string[]
  readonly gates: Map<string, PromiseWithResolvers<Reply>>
  readonly pool: BulkPool
  readonly listeners: Set<Outlet>
}

export function sharedBySessions(): SharedBySessions {
  return { executed: [], gates: new Map(), pool: new BulkPool(), listeners: new Set() }
}

/** Commands of the tests: ECHO x, FAIL, WAITFOR name [reply bytes] (until released), HOLD name (the same, nothing runs beside it), BIG n, LEND n (in memory
 *  of the pool, filled with its number), LISTEN (no reply; what others PUSH), PUSH text, BYE. */
export class TestSession implements RespSession {
  serial = false
  finished = false
  listening = false
  replyBytesDue = 0
  readonly #outlet: Outlet
  readonly #shared: SharedBySessions
  #lentCount = 0

  constructor(outlet: Outlet, shared: SharedBySessions) {
    this.#outlet = outlet
    this.#shared = shared
  }

  execute(args: Buffer[]): MaybePromise<Reply> | typeof noReply {
    const [name, argument = '', replyBytes = 0] = args.map(String)
    this.#shared.executed.push(`${name} ${argument}`.trim())
    switch (name) {
      case 'ECHO':
        return Buffer.from(argument)
      case 'WAITFOR':
        return this.#waitFor(argument, Number(replyBytes))
      case 'HOLD':
        this.serial = true
        return this.#gate(argument).promise.finally(() => {
          this.serial = false
        })
      case 'BIG':
        return Buffer.alloc(Number(argument), 0x61)
      case 'LEND':
        return this.#shared.pool.take(Number(argument)).fill(++this.#lentCount)
      case 'LISTEN':
        this.listening = true
        this.#shared.listeners.add(this.#outlet)
        return noReply
      case 'PUSH':
        for (const listener of this.#shared.listeners) listener.push(args[1]!)
        return this.#shared.listeners.size
      case 'BYE':
        this.finished = true
        throw new RespError('bye')
      default:
        throw new RespError('Command not supported')
    }
  }

  async #waitFor(name: string, replyBytes: number): Promise<Reply> {
    this.replyBytesDue += replyBytes
    try {
      return await this.#gate(name).promise
    } finally {
      this.replyBytesDue -= replyBytes
    }
  }

  #gate(name: string): PromiseWithResolvers<Reply> {
    const gate = this.#shared.gates.get(name) ?? Promise.withResolvers<Reply>()
    this.#shared.gates.set(name, gate)
    return gate
  }

  close(): void {
    this.#shared.listeners.delete(this.#outlet)
    this.#shared.executed.push('(closed)')
  }
}

/** Waits for the first of these events, and leaves no listener behind. */
export async function firstOf(socket: Socket, ...events: readonly string[]): Promise<void> {
  const waiting = new AbortController()
  await Promise.race(events.map(event => once(socket, event, { signal: waiting.signal }))).finally(() =>
    waiting.abort(),
  )
}

/** A raw connection: bytes out, text in. */
export class RawClient {
  readonly socket: Socket
  text = ''

  constructor(path: string) {
    this.socket = connect(path)
    this.socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1')
    })
    this.socket.on('error', () => undefined)
  }

  send(text: string): void {
    this.socket.write(text)
  }

  async until(length: number): Promise<string> {
    while (this.text.length < length) {
      if (this.socket.destroyed) throw new Error(`closed after ${this.text.length} of ${length} bytes`)
      await firstOf(this.socket, 'data', 'close')
    }
    return this.text
  }

  async untilClosed(): Promise<string> {
    if (!this.socket.readableEnded && !this.socket.destroyed) await once(this.socket, 'close')
    return this.text
  }
}

/** A server on a unix socket, and more, whose sessions are TestSessions; all goes with the test. */
export async function start(
  t: TestContext,
  options: Partial<RespServerOptions> = {},
  addresses: readonly ListenAddress[] = [],
) {
  const directory = await temporaryDirectory()
  const path = join(directory.path, 'resp.sock')
  const shared = sharedBySessions()
  const errors: Error[] = []
  const server = await RespServer.listen([{ path }, ...addresses], {
    openSession: outlet => new TestSession(outlet, shared),
    pool: shared.pool,
    clientsMax: 100,
    clock: systemClock,
    onConnectionError: error => errors.push(error),
    ...options,
  })
  const clients: RawClient[] = []
  t.after(async () => {
    for (const client of clients) client.socket.destroy()
    await server[Symbol.asyncDispose]()
    await directory[Symbol.asyncDispose]()
  })
  const connectClient = () => {
    const client = new RawClient(path)
    clients.push(client)
    return client
  }
  return { path, server, ...shared, errors, connectClient }
}

/** Lets the server read and answer what was sent: a second connection made a round trip. */
export async function roundTrip(client: RawClient): Promise<void> {
  const before = client.text.length
  client.send('ECHO x\r\n')
  await client.until(before + '$1\r\nx\r\n'.length)
}
