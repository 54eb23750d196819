import { BulkClient } from '@qsfs/resp/bulk-client'
import type { Reply } from '@qsfs/resp/client'
import { type PasswordsSent, weaker } from '@qsfs/resp/connect/introduction'
import type { TlsClientOptions } from '@qsfs/resp/tls/peer'
import { StorError } from '../../errors.ts'
import type { BackendLink } from '../backend.ts'
import { commandFailure, connectFailure, passwordFailure } from './zdb-failures.ts'
import { enterNamespace, tolerating } from './zdb-namespace.ts'

export interface ZdbAddress {
  /** `unix:/path`, `host:port`, `[v6]:port`, or one of the last two behind `tls://`. */
  readonly address: string
  readonly tls?: TlsClientOptions
  readonly namespace: string
  readonly namespacePassword?: string
  readonly adminPassword?: string
}

export interface ZdbLinkOptions {
  readonly mode: 'sequential' | 'user'
  /** A namespace that is not there is made; else it is an error. */
  readonly createNamespace: boolean
  readonly connectTimeoutMs: number
  /** Takes the namespace over on servers that know OWNER: what a dead process, or a lost connection of ours, left in the
   *  server's buffers then fails instead of being executed late. */
  readonly ownerId?: string
  /** A connection on which commands wait and nothing comes for this long is given up. */
  readonly commandTimeoutMs: number
}

/** Values belong to who asked for them, so none of their memory comes back. */
const freshMemory = { take: (lengthBytes: number) => Buffer.allocUnsafeSlow(lengthBytes) }

/** One connection to one namespace of a 0-db server, made when it is first needed and again after it was lost. Commands
 *  leave in the order of the calls. Nothing is repeated: who calls knows what may be. */
export class ZdbLink implements AsyncDisposable {
  readonly name: string
  readonly #address: ZdbAddress
  readonly #options: ZdbLinkOptions
  #connecting: Promise<BulkClient> | null = null
  #client: BulkClient | null = null
  #disposed = false
  #connectionCount = 0
  #link: BackendLink | null = null

  /** @param name of the backend, for messages */
  constructor(name: string, address: ZdbAddress, options: ZdbLinkOptions) {
    this.name = name
    this.#address = address
    this.#options = options
  }

  /** @throws StorError; 'unavailable' also when the reply was lost and the command may have been executed */
  async call(args: readonly (string | Buffer)[], signal?: AbortSignal): Promise<Reply> {
    signal?.throwIfAborted()
    try {
      // Without an await when connected: two calls made one after the other are sent in that order.
      const reply =
        this.#client === null ? this.#connect().then(client => client.call(...args)) : this.#client.call(...args)
      return await abandonable(reply, signal)
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      throw commandFailure(this.name, error)
    }
  }

  /** How many connections there were so far: when it has changed, the server may have been restarted in between. */
  get connectionCount(): number {
    return this.#connectionCount
  }

  /** How the last connection was made; null before the first. */
  get link(): BackendLink | null {
    return this.#link
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    const client = await this.#connecting?.catch(() => null)
    await client?.[Symbol.asyncDispose]()
  }

  #connect(): Promise<BulkClient> {
    if (this.#disposed) return Promise.reject(new StorError('unavailable', `${this.name} is closed`))
    this.#connecting ??= this.#open()
    return this.#connecting
  }

  async #open(): Promise<BulkClient> {
    try {
      const client = await this.#logIn()
      try {
        await this.#enter(client)
      } catch (error) {
        await client[Symbol.asyncDispose]()
        throw error
      }
      const forget = () => {
        if (this.#client === client) this.#connecting = this.#client = null
      }
      client.closed.then(forget, forget)
      this.#client = client
      this.#connectionCount++
      return client
    } catch (error) {
      this.#connecting = null
      throw connectFailure(this.name, this.#address.address, error)
    }
  }

  async #logIn(): Promise<BulkClient> {
    const { address, tls, adminPassword } = this.#address
    const { connectTimeoutMs, commandTimeoutMs } = this.#options
    try {
      const options = { address, tls, adminPassword, connectTimeoutMs, commandTimeoutMs }
      return await BulkClient.connect(options, freshMemory)
    } catch (error) {
      throw passwordFailure(this.name, error)
    }
  }

  async #enter(client: BulkClient): Promise<void> {
    const { namespace, namespacePassword: password } = this.#address
    const { mode, createNamespace: create, ownerId } = this.#options
    const call = client.call.bind(client)
    const passwordsSent = await enterNamespace(call, this.name, { namespace, password, mode, create })
    this.#link = linkOf(client, passwordsSent)
    if (ownerId === undefined) return
    const token = `${ownerId}.${this.#connectionCount}`
    await tolerating('Command not supported', () => client.call('OWNER', token, namespace))
  }
}

function linkOf({ tlsPeer, passwordsSent: adminPasswordSent }: BulkClient, passwordsSent: PasswordsSent): BackendLink {
  const tls = tlsPeer === null ? null : { version: tlsPeer.version, group: tlsPeer.group }
  return { tls, passwordsSent: weaker(adminPasswordSent, passwordsSent) }
}

/** The promise, or the signal's reason as soon as it is aborted. */
function abandonable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
