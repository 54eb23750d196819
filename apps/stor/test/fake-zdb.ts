import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { ReplyEncoder } from '@qsfs/resp/encoder'
import { defaultLimits, RespParser } from '@qsfs/resp/parser'
import { type Reply, RespError } from '@qsfs/resp/reply'

interface FakeNamespace {
  readonly values: Map<string, Buffer>
  mode: 'userkey' | 'sequential'
  nextId: number
}

/** The few commands of a 0-db server that stor uses, in memory, on a real socket. It can hang, lose its memory, or be the
 *  C server, which has no FSYNC. */
export class FakeZdb implements AsyncDisposable {
  readonly namespaces = new Map<string, FakeNamespace>()
  readonly #server = createServer(socket => this.#serve(socket))
  readonly #sockets = new Set<Socket>()
  readonly #hasFsync: boolean
  readonly #password: string | null
  hangs = false
  /** Called before each command; may throw RespError. */
  onCommand: (name: string, args: readonly Buffer[]) => void = () => undefined
  readonly commands: string[] = []

  private constructor(options: { hasFsync: boolean; password: string | null }) {
    this.#hasFsync = options.hasFsync
    this.#password = options.password
  }

  static async listen({
    hasFsync = true,
    password = null,
    port = 0,
  }: {
    hasFsync?: boolean
    password?: string | null
    port?: number
  } = {}): Promise<FakeZdb> {
    const fake = new FakeZdb({ hasFsync, password })
    fake.#server.listen(port, '127.0.0.1')
    await once(fake.#server, 'listening')
    return fake
  }

  get address(): string {
    const address = this.#server.address()
    return `127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  }

  /** Every connection is cut; what was stored stays, unless said otherwise. */
  cut({ loses = [] as readonly string[] } = {}): void {
    for (const socket of this.#sockets) socket.destroy()
    for (const name of loses) this.namespaces.get(name)?.values.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => this.#sockets.delete(socket))
    const parser = new RespParser(defaultLimits)
    const state = { namespace: null as FakeNamespace | null, isAdmin: this.#password === null }
    socket.on('data', (chunk: Buffer) => {
      if (this.hangs) return
      parser.feed(chunk)
      const encoder = new ReplyEncoder()
      for (let command = parser.next(); command !== null; command = parser.next()) {
        encoder.push(
          this.#answer(
            command.map(argument => Buffer.from(argument)),
            state,
          ),
        )
      }
      for (const part of encoder.take()) socket.write(part)
    })
  }

  #answer([name, ...args]: Buffer[], state: { namespace: FakeNamespace | null; isAdmin: boolean }): Reply | RespError {
    try {
      const command = String(name).toUpperCase()
      this.commands.push(command)
      this.onCommand(command, args)
      return this.#execute(command, args, state)
    } catch (error) {
      if (error instanceof RespError) return error
      throw error
    }
  }

  #execute(command: string, args: Buffer[], state: { namespace: FakeNamespace | null; isAdmin: boolean }): Reply {
    const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = args
    const named = () => {
      const namespace = this.namespaces.get(String(first))
      if (!namespace) throw new RespError(ErrorText.namespaceNotFound)
      return namespace
    }
    const key = first.toString('hex')
    const selected = () => {
      if (!state.namespace) throw new RespError('not selected')
      return state.namespace
    }
    switch (command) {
      case 'AUTH':
        if (String(first) !== this.#password) throw new RespError('Access denied')
        state.isAdmin = true
        return 'OK'
      case 'NSNEW':
        if (!state.isAdmin) throw new RespError('Permission denied')
        if (this.namespaces.has(String(first))) throw new RespError('This namespace is not available')
        this.namespaces.set(String(first), { values: new Map(), mode: 'userkey', nextId: 0 })
        return 'OK'
      case 'NSSET':
        named().mode = String(args[2]) === 'seq' ? 'sequential' : 'userkey'
        return 'OK'
      case 'NSINFO': {
        const { mode, values } = named()
        const bytes = values.values().reduce((sum, value) => sum + value.length, 0)
        return Buffer.from(
          `# namespace\nname: ${first}\nentries: ${values.size}\ndata_size_bytes: ${bytes}\ndata_limits_bytes: 0\nmode: ${mode}\ndata_disk_freespace_bytes: 1000000000\n`,
        )
      }
      case 'SELECT':
        state.namespace = named()
        return 'OK'
      case 'SET': {
        const namespace = selected()
        if (namespace.mode === 'userkey') {
          if (namespace.values.get(key)?.equals(second)) return null
          namespace.values.set(key, second)
          return first
        }
        const id = Buffer.alloc(8)
        id.writeBigUInt64LE(BigInt(namespace.nextId++))
        namespace.values.set(id.toString('hex'), second)
        return id
      }
      case 'GET':
        return selected().values.get(key) ?? null
      case 'EXISTS':
        return selected().values.has(key) ? 1 : 0
      case 'DEL':
        if (!selected().values.delete(key)) throw new RespError(ErrorText.keyNotFound)
        return 'OK'
      case 'SCAN': {
        const keys = [...selected().values.keys()]
        const from = args.length === 0 ? 0 : keys.indexOf(first.toString()) + 1
        const page = keys.slice(from, from + 3)
        if (page.length === 0) throw new RespError(ErrorText.noMoreData)
        return [Buffer.from(page.at(-1)!), page.map(found => [Buffer.from(found, 'hex'), 1, 1])]
      }
      case 'FSYNC':
        if (!this.#hasFsync) throw new RespError('Command not supported')
        return args.map(() => [Buffer.from('0123456789abcdef'), 0, 0, 0, Buffer.from('0123456789abcdef')])
      default:
        throw new RespError('Command not supported')
    }
  }
}
