import { rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { askControl } from '@qsfs/daemon/control'
import type { StatusResult } from '@qsfs/protocol/stor-control'
import type { SpawnedProcess } from '@qsfs/testkit/spawn'
import { peakMiB } from '../peak-memory.ts'
import { startProgram } from '../start-program.ts'

const backendCount = 6
const allUpWithinMs = 30_000
const bytesMetric = 'qsfs_stor_backend_bytes_total'

/** A real stor and six real local backends, 4+2, one process each, below one directory. */
export class Cluster implements AsyncDisposable {
  readonly #resources: AsyncDisposableStack
  readonly #stor: SpawnedProcess
  readonly #controlPath: string
  readonly backends: readonly BackendProcess[]

  /** Starts all and waits until stor is open. */
  static async start(directory: string): Promise<Cluster> {
    await using starting = new AsyncDisposableStack()
    const backends = Array.from({ length: backendCount }, (_, i) => starting.use(new BackendProcess(directory, i)))
    await Promise.all(backends.map(backend => backend.start()))
    const configPath = join(directory, 'stor.toml')
    const controlPath = join(directory, 'stor.sock')
    await writeFile(configPath, storConfig(directory, controlPath, backends))
    const stor = starting.use(startProgram('stor', configPath))
    await stor.waitForLine(/stor\.ready/)
    return new Cluster(stor, controlPath, backends, starting.move())
  }

  private constructor(
    stor: SpawnedProcess,
    controlPath: string,
    backends: readonly BackendProcess[],
    resources: AsyncDisposableStack,
  ) {
    this.#stor = stor
    this.#controlPath = controlPath
    this.backends = backends
    this.#resources = resources
  }

  /** @returns how long it took, in ms */
  store(file: string, name: string): Promise<number> {
    return timed(() => this.#ask('store', { file, name }))
  }

  /** @param range only these bytes
   *  @returns how long it took, in ms */
  retrieve(file: string, name: string, range?: { offsetBytes: number; lengthBytes: number }): Promise<number> {
    return timed(() => this.#ask('retrieve', { file, name, ...(range === undefined ? {} : { range }) }))
  }

  /** Waits until stor's monitor calls all backends up.
   *  @throws Error that names those it does not, after half a minute */
  async allUp(): Promise<void> {
    const startMs = performance.now()
    for (;;) {
      const { backends } = (await this.#ask('status', {})) as StatusResult
      const others = backends.filter(({ health }) => health !== 'up').map(({ name, health }) => `${name} is ${health}`)
      if (others.length === 0) return
      if (performance.now() - startMs > allUpWithinMs) throw new Error(`not all backends are up: ${others.join(', ')}`)
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }

  /** The most memory that stor ever held. */
  get storPeakMiB(): number {
    return peakMiB(this.#stor.pid)
  }

  /** Bytes of pieces that stor has read so far, by backend, as its own metrics count them. */
  async piecesRead(): Promise<Map<BackendProcess, number>> {
    const [, port] = await this.#stor.waitForLine(/metrics\.served.*"port":(\d+)/)
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    const bytesOf = (index: number) => {
      const labels = `backend="data-${index}",backend_type="data",operation="get"`
      return Number(
        text
          .split('\n')
          .find(line => line.startsWith(`${bytesMetric}{${labels}} `))
          ?.split(' ')[1] ?? 0,
      )
    }
    return new Map(this.backends.map((backend, index) => [backend, bytesOf(index)]))
  }

  async #ask(verb: string, params: Readonly<Record<string, unknown>>): Promise<unknown> {
    return await askControl(this.#controlPath, verb, params)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

/** One backend: cachedb, below a path that leads to its socket, or to what stands before it. */
export class BackendProcess implements AsyncDisposable {
  readonly #directory: string
  readonly #name: string
  #process: SpawnedProcess | null = null

  constructor(directory: string, index: number) {
    this.#directory = directory
    this.#name = `backend-${index}`
  }

  /** What stor connects to. */
  get socketPath(): string {
    return join(this.#directory, `${this.#name}.sock`)
  }

  /** Where cachedb itself listens. */
  get ownSocketPath(): string {
    return join(this.#directory, `${this.#name}.own.sock`)
  }

  /** @param before a socket that stor is led to instead; whatever stands there leads on to ours */
  async start({ before = this.ownSocketPath }: { readonly before?: string } = {}): Promise<void> {
    const link = join(this.#directory, `${this.#name}.link`)
    await symlink(before, link)
    await rename(link, this.socketPath)
    const configPath = join(this.#directory, `${this.#name}.toml`)
    const dataDirectory = join(this.#directory, this.#name)
    await writeFile(configPath, `[cachedb]\ndata_dir = "${dataDirectory}"\nsocket = "${this.ownSocketPath}"\n`)
    this.#process = startProgram('cachedb', configPath)
    await this.#process.waitForLine(/server\.ready/)
  }

  async kill(): Promise<void> {
    await this.#process?.kill9()
  }

  /** It holds its connections and answers nothing. */
  freeze(): void {
    process.kill(this.#process!.pid, 'SIGSTOP')
  }

  thaw(): void {
    process.kill(this.#process!.pid, 'SIGCONT')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process?.[Symbol.asyncDispose]()
  }
}

function storConfig(directory: string, controlPath: string, backends: readonly BackendProcess[]): string {
  const placesIn = (namespace: string) =>
    backends.map(
      ({ socketPath }, i) =>
        `{ address = "unix:${socketPath}", namespace = "${namespace}", name = "${namespace}-${i}" }`,
    )
  const data = placesIn('data')
  return [
    '[stor]\nminimal_shards = 4\nexpected_shards = 6\nredundant_groups = 1\ncreate_namespaces = true',
    `socket = "${controlPath}"\nmaster_key_file = "${join(directory, 'master.key')}"\nmetrics_listen = ":0"`,
    // Backends fall here again and again, and would have to prove themselves for longer each time: 10 s, 20 s … ten minutes.
    'up_after = 0',
    ...[0, 2, 4].map(i => `[[stor.groups]]\nbackends = [${data.slice(i, i + 2)}]\n`),
    `[stor.meta.config]\nminimal_shards = 2\nbackends = [${placesIn('meta')}]\n`,
  ].join('\n')
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await action()
  return performance.now() - startMs
}
