import { strict as assert } from 'node:assert'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { RespClient, type RespClientOptions } from '@qsfs/resp/client'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'

const main = join(import.meta.dirname, '../src/main.ts')

/** What a test context can do for us. */
interface Cleanup {
  after(action: () => Promise<void>): void
}

/** A cachedb of its own process and directory, which goes with the test. */
export class CachedbProcess {
  readonly directory: string
  readonly socketPath: string
  readonly #configPath: string
  #process: SpawnedProcess | null = null
  readonly #clients: RawClient[] = []

  private constructor(directory: string, keys: Readonly<Record<string, string | number | boolean>>) {
    this.directory = directory
    this.socketPath = join(directory, 'cachedb.sock')
    this.#configPath = join(directory, 'qsfs.toml')
    const all = { data_dir: join(directory, 'data'), socket: this.socketPath, ...keys }
    const lines = Object.entries(all).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    writeFileSync(this.#configPath, `[cachedb]\n${lines.join('')}`)
  }

  /** As `start`, without starting it. */
  static async prepare(
    t: Cleanup,
    keys: Readonly<Record<string, string | number | boolean>> = {},
  ): Promise<CachedbProcess> {
    const directory = await temporaryDirectory()
    const filled = Object.entries(keys).map(([key, value]) => [
      key,
      typeof value === 'string' ? value.replace('{dir}', directory.path) : value,
    ])
    const cachedb = new CachedbProcess(directory.path, Object.fromEntries(filled))
    t.after(async () => {
      for (const client of cachedb.#clients) client.socket.destroy()
      await cachedb.#process?.[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    })
    return cachedb
  }

  /** @param keys of [cachedb], beside data_dir and socket; `{dir}` in text stands for the test's directory */
  static async start(
    t: Cleanup,
    keys: Readonly<Record<string, string | number | boolean>> = {},
  ): Promise<CachedbProcess> {
    const cachedb = await CachedbProcess.prepare(t, keys)
    await cachedb.start()
    return cachedb
  }

  get process(): SpawnedProcess {
    assert(this.#process, 'the process was started')
    return this.#process
  }

  get address(): string {
    return `unix:${this.socketPath}`
  }

  async start(): Promise<void> {
    this.#process = this.spawn()
    await this.#process.waitForLine(/"server\.ready"/)
  }

  /** A second process with the same config; the caller disposes it. */
  spawn(): SpawnedProcess {
    return spawnProcess(process.execPath, [main, '--config', this.#configPath], { env: { QSFS_LOG_LEVEL: 'info' } })
  }

  /** A connection on which replies are seen as they are. */
  async raw(): Promise<RawClient> {
    const client = await RawClient.connect(this.socketPath)
    this.#clients.push(client)
    return client
  }

  client(options: Omit<RespClientOptions, 'address'> = {}): Promise<RespClient> {
    return RespClient.connect({ address: this.address, ...options })
  }
}

/** One connection; replies are shown as text: +simple, -error, :integer, $bulk, $-1, [array]. */
export class RawClient {
  readonly socket: Socket
  #received: Buffer = Buffer.alloc(0)
  #isClosed = false
  /** Resolved, and made anew, whenever bytes arrive or the connection closes. */
  #news = Promise.withResolvers<void>()

  private constructor(socket: Socket) {
    this.socket = socket
    // A reset is seen as the close that follows it.
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#tell()
    })
    socket.once('close', () => {
      this.#isClosed = true
      this.#tell()
    })
  }

  #tell(): void {
    const news = this.#news
    this.#news = Promise.withResolvers()
    news.resolve()
  }

  static async connect(path: string): Promise<RawClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    return new RawClient(socket)
  }

  send(...args: readonly (string | Buffer)[]): void {
    this.socket.write(request(args))
  }

  async ask(...args: readonly (string | Buffer)[]): Promise<string> {
    this.send(...args)
    return this.reply()
  }

  /** Bytes received and not read. */
  get unread(): number {
    return this.#received.length
  }

  /** The next reply. @throws when the connection ends before */
  async reply(): Promise<string> {
    for (;;) {
      const parsed = show(this.#received, 0)
      if (parsed) {
        this.#received = this.#received.subarray(parsed.end)
        return parsed.text
      }
      if (this.#isClosed) throw new Error('the connection ended without a reply')
      await this.#news.promise
    }
  }

  /** Everything received and not read, once the server has closed the connection. */
  async untilClosed(): Promise<string> {
    while (!this.#isClosed) await this.#news.promise
    return this.#received.toString('latin1')
  }

  /** So many bytes as they came. */
  async bytes(count: number): Promise<string> {
    while (this.#received.length < count && !this.#isClosed) await this.#news.promise
    const text = this.#received.subarray(0, count).toString('latin1')
    this.#received = this.#received.subarray(count)
    return text
  }
}

export function request(args: readonly (string | Buffer)[]): Buffer {
  const parts = args.flatMap(argument => [
    Buffer.from(`$${Buffer.byteLength(argument)}\r\n`),
    Buffer.from(argument),
    Buffer.from('\r\n'),
  ])
  return Buffer.concat([Buffer.from(`*${args.length}\r\n`), ...parts])
}

function show(bytes: Buffer, from: number): { text: string; end: number } | null {
  const lineEnd = bytes.indexOf('\r\n', from)
  if (lineEnd < 0) return null
  const line = bytes.toString('latin1', from, lineEnd)
  const count = Number(line.slice(1))
  let end = lineEnd + 2
  if (line[0] === '$' && count >= 0) {
    if (bytes.length < end + count + 2) return null
    return { text: `$${bytes.toString('latin1', end, end + count)}`, end: end + count + 2 }
  }
  if (line[0] !== '*') return { text: line, end }
  const elements: string[] = []
  for (let index = 0; index < count; index++) {
    const element = show(bytes, end)
    if (!element) return null
    elements.push(element.text)
    end = element.end
  }
  return { text: `[${elements.join(' ')}]`, end }
}
