import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { ConnectionLost, type Reply, RespClient, RespError } from '@qsfs/resp/client'
import { StorError, type StorErrorReason } from '../errors.ts'

export interface ZdbAddress {
  /** `unix:/path`, `host:port`, `[v6]:port`. */
  readonly address: string
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

const REASONS: readonly (readonly [text: string, reason: StorErrorReason])[] = [
  [ErrorText.namespaceFull, 'full'],
  [ErrorText.fullSpace, 'full'],
  [ErrorText.fullWait, 'full'],
  [ErrorText.keyNotFound, 'missing'],
  [ErrorText.namespaceNotFound, 'refused'],
  [ErrorText.namespaceReadOnly, 'refused'],
  [ErrorText.ownerLost, 'refused'],
  ['Access denied', 'refused'],
  ['Namespace protected and private', 'refused'],
  ['Permission denied', 'refused'],
  [ErrorText.ioErrorPrefix, 'damaged'],
]

/** One connection to one namespace of a 0-db server, made when it is first needed and again after it was lost. Commands
 *  leave in the order of the calls. Nothing is repeated: who calls knows what may be. */
export class ZdbLink implements AsyncDisposable {
  readonly name: string
  readonly #address: ZdbAddress
  readonly #options: ZdbLinkOptions
  #connecting: Promise<RespClient> | null = null
  #client: RespClient | null = null
  #disposed = false
  #connectionCount = 0

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
      throw this.#toStorError(error)
    }
  }

  /** How many connections there were so far: when it has changed, the server may have been restarted in between. */
  get connectionCount(): number {
    return this.#connectionCount
  }

  /** The address as people write it, with its namespace. */
  get place(): string {
    return `${this.#address.address} ${this.#address.namespace}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    const client = await this.#connecting?.catch(() => null)
    await client?.[Symbol.asyncDispose]()
  }

  #connect(): Promise<RespClient> {
    if (this.#disposed) return Promise.reject(new StorError('unavailable', `${this.name} is closed`))
    this.#connecting ??= this.#open()
    return this.#connecting
  }

  async #open(): Promise<RespClient> {
    try {
      const { address, adminPassword } = this.#address
      const { connectTimeoutMs, commandTimeoutMs } = this.#options
      const admin = adminPassword === undefined ? {} : { adminPassword }
      const client = await RespClient.connect({ address, ...admin, connectTimeoutMs, commandTimeoutMs })
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
      throw error
    }
  }

  /** Makes the namespace if it may, checks its mode, selects it. */
  async #enter(client: RespClient): Promise<void> {
    const { namespace, namespacePassword } = this.#address
    let info = await namespaceInfo(client, namespace)
    if (info === null && this.#options.createNamespace) {
      await this.#create(client)
      info = await namespaceInfo(client, namespace)
    }
    if (info === null) {
      throw new StorError('refused', `${this.name} has no namespace ${namespace}; create it, or set create_namespaces`)
    }
    const wanted = this.#options.mode === 'user' ? 'userkey' : 'sequential'
    if (info.get('mode') !== wanted) {
      throw new StorError(
        'refused',
        `${this.name}: namespace ${namespace} is in mode ${info.get('mode')}, not ${wanted}`,
      )
    }
    await client.call('SELECT', namespace, ...(namespacePassword === undefined ? [] : [namespacePassword]))
    const { ownerId } = this.#options
    if (ownerId === undefined) return
    await tolerating('Command not supported', client.call('OWNER', `${ownerId}.${this.#connectionCount}`, namespace))
  }

  async #create(client: RespClient): Promise<void> {
    const { namespace, namespacePassword } = this.#address
    // Another connection of ours may do the same at the same time.
    await tolerating('This namespace is not available', client.call('NSNEW', namespace))
    const mode = this.#options.mode === 'user' ? 'user' : 'seq'
    // A server that knows one mode only, or has data there already: its mode is checked afterwards.
    await tolerating('mode', client.call('NSSET', namespace, 'mode', mode))
    if (namespacePassword !== undefined) {
      await client.call('NSSET', namespace, 'password', namespacePassword)
      await client.call('NSSET', namespace, 'public', '0')
    }
  }

  #toStorError(error: unknown): Error {
    if (error instanceof StorError) return error
    if (error instanceof ConnectionLost) return new StorError('unavailable', `${this.name}: ${error.message}`)
    if (error instanceof RespError) {
      const reason = REASONS.find(([text]) => error.message.startsWith(text))?.[1] ?? 'unavailable'
      return new StorError(reason, `${this.name} answers: ${error.message}`, { cause: error })
    }
    return error instanceof Error ? error : new Error(String(error))
  }
}

/** NSINFO's lines, null when there is no such namespace. */
export async function namespaceInfo(
  client: { call(...args: (string | Buffer)[]): Promise<Reply> },
  namespace: string,
): Promise<Map<string, string> | null> {
  try {
    return parseInfo(await client.call('NSINFO', namespace))
  } catch (error) {
    if (error instanceof RespError && error.message === ErrorText.namespaceNotFound) return null
    throw error
  }
}

/** `key: value` lines. Unknown ones do no harm, missing ones are for the caller. */
export function parseInfo(reply: Reply): Map<string, string> {
  const text = Buffer.isBuffer(reply) || typeof reply === 'string' ? reply.toString() : ''
  return new Map(
    text.split('\n').flatMap(line => {
      const at = line.indexOf(':')
      return at < 1 ? [] : [[line.slice(0, at), line.slice(at + 1).trim()] as const]
    }),
  )
}

/** Passes an error over whose text contains these words. */
async function tolerating(words: string, reply: Promise<Reply>): Promise<void> {
  try {
    await reply
  } catch (error) {
    if (!(error instanceof RespError && error.message.includes(words))) throw error
  }
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
