import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { ConnectionLost, type Reply, RespError } from '@qsfs/resp/client'
import type { Prng } from '@qsfs/testkit/prng'
import type { Connect, Connection } from '../src/store/cachedb-session.ts'

interface Faults {
  /** The connection is lost around a command, executed or not. */
  readonly drop: number
  /** The server dies around a command: it is killed, or its machine loses what was not synced. */
  readonly crash: number
  /** A write is refused with FULL wait. */
  readonly full: number
}

interface Entry {
  readonly key: string
  /** null: deleted. */
  readonly value: Buffer | null
}

/** An append-only namespace in memory: a power cut keeps any prefix that holds what was synced. */
class ToyNamespace {
  entries: Entry[] = []
  synced = 0
  live = new Map<string, Buffer>()
  nextId = 0

  append(key: string, value: Buffer | null): void {
    this.entries.push({ key, value })
    if (value === null) this.live.delete(key)
    else this.live.set(key, value)
  }

  cut(count: number): void {
    const kept = this.entries.slice(0, count)
    Object.assign(this, new ToyNamespace())
    for (const { key, value } of kept) {
      if (key.length === 8 && !this.live.has(key) && value !== null) this.nextId++
      this.append(key, value)
    }
    this.synced = count
  }
}

/** What the store needs of a cachedb, with its rules on owners and order, in one process and with faults at every command. */
export class ToyCachedb {
  readonly data = new ToyNamespace()
  readonly meta = new ToyNamespace()
  faults: Faults = { drop: 0, crash: 0, full: 0 }
  /** The error every SET is answered with. */
  refusal: string | null = null
  crashCount = 0
  dropCount = 0
  /** Key of a block whose segment is not on the disk, until `warming` settles for a WARM. */
  cold: string | null = null
  warming: Promise<void> = Promise.resolve()
  readonly #prng: Prng
  #instance = 1
  #owner = { id: '', attempt: 0 }
  #connections = new Set<ToyConnection>()
  /** Commands of dead connections that the server has yet to find in its buffers. */
  #buffered: { connection: ToyConnection; args: readonly (string | Buffer)[] }[] = []

  constructor(prng: Prng) {
    this.#prng = prng
  }

  get connect(): Connect {
    return async ({ namespace, owner }) => {
      // What an older connection sent may be executed at any moment until then.
      this.#executeBuffered(this.#prng.below(this.#buffered.length + 1))
      await turn()
      const connection = new ToyConnection(this, namespace ?? 'default')
      this.#connections.add(connection)
      if (owner !== undefined) {
        const [id, attempt] = owner.token.split('.')
        connection.owner = { id: id!, attempt: Number(attempt) }
        if (connection.owner.id === this.#owner.id && connection.owner.attempt < this.#owner.attempt) {
          throw new RespError(ErrorText.ownerLost)
        }
        this.#owner = connection.owner
        connection.positions = this.#positions(owner.namespaces)
      }
      this.#executeBuffered(this.#buffered.length)
      return connection
    }
  }

  /** Runs one command; how it ends may be that nobody hears of it. */
  run(connection: ToyConnection, args: readonly (string | Buffer)[]): Reply | Promise<Reply> {
    if (this.#prng.chance(this.faults.crash)) this.crash()
    else if (this.#prng.chance(this.faults.drop)) this.drop(connection)
    if (connection.isClosed) throw new ConnectionLost('dropped before the command')
    const reply = this.#execute(connection, args)
    if (this.#prng.chance(this.faults.drop)) this.drop(connection)
    return reply
  }

  drop(connection: ToyConnection): void {
    this.dropCount++
    this.#connections.delete(connection)
    for (const args of connection.close()) this.#buffered.push({ connection, args })
    this.#executeBuffered(this.#prng.below(this.#buffered.length + 1))
  }

  dropAll(): void {
    for (const connection of [...this.#connections]) this.drop(connection)
  }

  /** The server dies and starts again; half of the time its machine does too. */
  crash(powerCut = this.#prng.chance(0.7)): void {
    this.crashCount++
    for (const connection of this.#connections) connection.close()
    this.#connections.clear()
    this.#buffered = []
    this.#instance++
    this.#owner = { id: '', attempt: 0 }
    if (!powerCut) return
    for (const namespace of [this.data, this.meta]) {
      namespace.cut(namespace.synced + this.#prng.below(namespace.entries.length - namespace.synced + 1))
    }
  }

  #executeBuffered(count: number): void {
    for (const { connection, args } of this.#buffered.splice(0, count)) {
      try {
        this.#execute(connection, args)
      } catch (error) {
        if (!(error instanceof RespError)) throw error
      }
    }
  }

  #execute(connection: ToyConnection, [name, ...rest]: readonly (string | Buffer)[]): Reply | Promise<Reply> {
    const { owner } = connection
    if (owner.id !== this.#owner.id || owner.attempt !== this.#owner.attempt) throw new RespError(ErrorText.ownerLost)
    const namespace = connection.namespace === 'data' ? this.data : this.meta
    const [key, value] = [latin1(rest[0] ?? ''), Buffer.from(rest[1] ?? '')]
    switch (name) {
      case 'SET': {
        if (this.refusal !== null) throw new RespError(this.refusal)
        if (this.#prng.chance(this.faults.full)) throw new RespError(ErrorText.fullWait)
        const id = Buffer.alloc(8)
        if (namespace === this.data) id.writeBigUInt64LE(BigInt(namespace.nextId++))
        else if (namespace.live.get(key)?.equals(value)) return null
        namespace.append(namespace === this.data ? latin1(id) : key, Buffer.from(value))
        return namespace === this.data ? id : Buffer.from(key)
      }
      case 'GET':
        return namespace.live.get(key) ?? null
      case 'WARM':
        return this.warming.then(() => {
          this.cold = null
          return 'OK'
        })
      case 'GETRANGE':
        if (this.cold === key) throw new RespError(`${ErrorText.coldPrefix}7`)
        return namespace.live.get(key)?.subarray(Number(rest[1]), Number(rest[1]) + Number(rest[2])) ?? null
      case 'DEL':
        if (!namespace.live.has(key)) throw new RespError(ErrorText.keyNotFound)
        namespace.append(key, null)
        return 'OK'
      case 'FSYNC':
        for (const each of [this.data, this.meta]) each.synced = each.entries.length
        return this.#positions(rest.map(String)).map(p => [p.instance, p.nextId, p.appended, p.synced, p.incarnation])
      default:
        throw new RespError(`the toy knows no ${name}`)
    }
  }

  #positions(names: readonly string[]) {
    return names.map(name => {
      const { entries, synced, nextId } = name === 'data' ? this.data : this.meta
      return { instance: `i${this.#instance}`, nextId, appended: entries.length, synced, incarnation: name }
    })
  }
}

class ToyConnection implements Connection {
  positions: Connection['positions'] = []
  owner = { id: '', attempt: 0 }
  readonly namespace: string
  isClosed = false
  readonly #server: ToyCachedb
  readonly #closed = Promise.withResolvers<Error | undefined>()
  #waiting: { args: readonly (string | Buffer)[]; answer: PromiseWithResolvers<Reply> }[] = []
  #pumping = false

  constructor(server: ToyCachedb, namespace: string) {
    this.#server = server
    this.namespace = namespace
  }

  get closed(): Promise<Error | undefined> {
    return this.#closed.promise
  }

  call(...args: readonly (string | Buffer)[]): Promise<Reply> {
    if (this.isClosed) return Promise.reject(new ConnectionLost('closed'))
    const answer = Promise.withResolvers<Reply>()
    this.#waiting.push({ args, answer })
    this.#pump()
    return answer.promise
  }

  /** @returns the commands that were sent and not executed */
  close(): (readonly (string | Buffer)[])[] {
    if (this.isClosed) return []
    this.isClosed = true
    this.#closed.resolve(undefined)
    const waiting = this.#waiting.splice(0)
    for (const { answer } of waiting) answer.reject(new ConnectionLost('dropped'))
    return waiting.map(({ args }) => args)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isClosed) this.#server.drop(this)
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return
    this.#pumping = true
    await turn()
    while (this.#waiting.length > 0) {
      const { args, answer } = this.#waiting.shift()!
      try {
        const reply = await this.#server.run(this, args)
        if (this.isClosed) answer.reject(new ConnectionLost('dropped after the command'))
        else answer.resolve(reply)
      } catch (error) {
        answer.reject(error)
      }
      await null
    }
    this.#pumping = false
  }
}

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

function latin1(key: string | Buffer): string {
  return typeof key === 'string' ? key : key.toString('latin1')
}
