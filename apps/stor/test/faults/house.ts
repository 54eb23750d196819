import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { after } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import type { StatusResult } from '@qsfs/protocol/stor-control'
import type { Log, LogFields } from '@qsfs/telemetry/log'
import { Metrics } from '@qsfs/telemetry/metrics'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { loadStorConfig, type StorConfig } from '../../src/config.ts'
import { StorError } from '../../src/errors.ts'
import { objectIdOfKey, objectKey } from '../../src/metadata/name-record.ts'
import { decodeRecord, type ObjectRecord } from '../../src/metadata/object-record.ts'
import { StorCounts } from '../../src/metrics/counts.ts'
import { FramePool } from '../../src/pipeline/frame-pool.ts'
import { Runtime } from '../../src/runtime.ts'
import { ObjectCount, statusOf } from '../../src/status.ts'
import { type Place, storeToml, until as untilTrue } from '../store-fixture.ts'
import { FaultyProxy, honest } from './faulty-proxy.ts'

/** As the fixture's, asking less often: with many houses open, what is asked is most of the work. */
export const until = (isTrue: () => boolean | Promise<boolean>) => untilTrue(isTrue, { everyMs: 75 })

/** Passes a change on to a backend, or throws. */
export type Gate = () => Promise<void> | void
type Settings = Readonly<Record<string, string | number | boolean>>
const SETTINGS = { frame_bytes: 65_536, health_check_interval: '300ms', down_after: '400ms' }

// One for all houses: starting its threads takes longer than most rows.
const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

interface HouseOptions {
  readonly servers?: (name: string) => boolean
  readonly upstream?: string
  readonly count?: number
  /** k of the records. */
  readonly recordShards?: number
}

/** A store whose backends may be hurt, and a memory of what it acknowledged. 4+2 data backends and 2+4 metadata ones,
 *  `data1` and `meta1` and so on, unless told otherwise. */
export class House implements AsyncDisposable {
  readonly path: string
  readonly config: string
  /** By backend name; none where backends are directories. */
  readonly proxies: ReadonlyMap<string, FaultyProxy>
  readonly random = prngFromSeed(randomBytes(4).readUInt32LE())
  readonly metrics = new Metrics()
  readonly #counts = new StorCounts(this.metrics)
  readonly #stack: AsyncDisposableStack
  /** All that was tried under a name. */
  readonly #sent = new Map<string, Buffer[]>()
  readonly #acknowledged = new Map<string, Buffer>()
  readonly #givenUp = new Set<string>()
  readonly #lines: string[] = []
  #before: ReadonlySet<string> = new Set()
  #runtime: Runtime | null = null
  #objectCount = new ObjectCount(systemClock)
  #count = 0

  private constructor(path: string, proxies: ReadonlyMap<string, FaultyProxy>, stack: AsyncDisposableStack) {
    this.path = path
    this.config = `${path}/qsfs.toml`
    this.proxies = proxies
    this.#stack = stack
  }

  /** @param options `servers`: which backends are namespaces of the cachedb at `upstream`, each behind a proxy of its own;
   *  the others are directories. `count`: of data backends, and of metadata ones. `recordShards`: k of the records */
  static async make(
    settings: Settings = {},
    { servers = () => false, upstream = '', count = 6, recordShards }: HouseOptions = {},
  ): Promise<House> {
    await using opening = new AsyncDisposableStack()
    const { path } = opening.use(await temporaryDirectory({ inMemory: true }))
    const proxies = new Map<string, FaultyProxy>()
    const place = async (name: string): Promise<Place> => {
      if (servers(name)) {
        const proxy = await FaultyProxy.before(upstream)
        proxies.set(name, proxy)
        return { name, address: proxy.address }
      }
      await mkdir(`${path}/${name}`)
      return { name, address: `dir:${path}/${name}` }
    }
    const numbers = Array.from({ length: count }, (_, i) => i + 1)
    const data = await Promise.all(numbers.map(i => place(`data${i}`)))
    const meta = await Promise.all(numbers.map(i => place(`meta${i}`)))
    for (const proxy of proxies.values()) opening.use(proxy)
    const toml = storeToml(path, data, meta, { ...SETTINGS, ...settings })
    // All in one server: each backend has a namespace of its own there.
    const unique = path.slice(path.lastIndexOf('/') + 1)
    const named = toml.replaceAll(
      /name = "(\w+)"\n(.*)\nnamespace = "\w+"/g,
      `name = "$1"\n$2\nnamespace = "${unique}-$1"`,
    )
    const coded = `[stor.meta.config]\nminimal_shards = ${recordShards}`
    const whole = recordShards === undefined ? named : named.replace('[stor.meta.config]', coded)
    await writeFile(`${path}/qsfs.toml`, whole)
    return new House(path, proxies, opening.move())
  }

  /** Starts it, as the daemon does.
   *  @param gate what each change of a backend waits for; it may fail */
  async start({ gate, ...config }: { readonly gate?: Gate } & Partial<StorConfig> = {}): Promise<void> {
    const tools = { clock: systemClock, random: randomBytes, log: this.#log, counts: this.#counts, pool }
    this.#objectCount = new ObjectCount(systemClock)
    this.#runtime = new Runtime({ ...loadStorConfig(this.config), ...config }, tools)
    if (gate !== undefined) guard(this.#runtime, gate)
    await this.#runtime.start()
    await this.#runtime.store()
  }

  async stop(): Promise<void> {
    await this.#runtime?.[Symbol.asyncDispose]()
    this.#runtime = null
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** Backends behave again, and hang on to nobody. */
  heal(): void {
    for (const proxy of this.proxies.values()) {
      proxy.behaviour = honest
      proxy.cut()
    }
  }

  /** A second stor on the same backends with the same secret, started. */
  async other(): Promise<House> {
    const path = `${this.path}/other`
    await mkdir(path, { recursive: true })
    const toml = await readFile(this.config, 'utf8')
    await writeFile(`${path}/qsfs.toml`, toml.replace(/^socket = .*$/m, `socket = "${path}/stor.sock"`))
    const other = new House(path, this.proxies, new AsyncDisposableStack())
    await other.start()
    return other
  }

  get runtime(): Runtime {
    assert.ok(this.#runtime !== null)
    return this.#runtime
  }

  /** Stores new bytes under a name. @returns why it failed, or null: it is acknowledged */
  async store(name = `/f${++this.#count}`, sizeBytes = 100_000): Promise<StorError | null> {
    const bytes = this.random.bytes(sizeBytes)
    const file = `${this.path}/in${name.replaceAll('/', '-')}`
    await writeFile(file, bytes)
    this.#sent.getOrInsertComputed(name, () => []).push(bytes)
    try {
      await (await this.runtime.store()).objects.store({ file, name })
      this.#acknowledged.set(name, bytes)
      return null
    } catch (error) {
      if (!(error instanceof StorError)) throw error
      return error
    }
  }

  /** @throws StorError */
  async retrieve(name: string): Promise<Buffer> {
    const file = this.pathOf(name)
    await rm(file, { force: true })
    await (await this.runtime.store()).objects.retrieve({ file, name })
    return await readFile(file)
  }

  /** Where it is retrieved to. */
  pathOf(name: string): string {
    return `${this.path}/out${name.replaceAll('/', '-')}`
  }

  /** Somebody else may have stored under this name since. */
  forget(name: string): void {
    this.#acknowledged.delete(name)
  }

  sent(name: string): readonly Buffer[] {
    return this.#sent.get(name) ?? []
  }

  /** The next row begins: what was acknowledged so far was looked at enough, what is beyond mending goes. */
  async tidy(): Promise<void> {
    const { objects } = await this.runtime.store()
    for (const name of this.#givenUp) await objects.delete({ file: name })
    this.#givenUp.clear()
    this.#acknowledged.clear()
  }

  /** A name whose loss is no fault of the store's: more was broken than it promises to survive. */
  giveUp(name: string): void {
    this.#acknowledged.delete(name)
    this.#givenUp.add(name)
  }

  get names(): readonly string[] {
    return [...this.#acknowledged.keys()]
  }

  /** Stores, again and again as hooks do, until it is acknowledged. */
  async mustStore(name: string, sizeBytes?: number): Promise<void> {
    await until(async () => {
      const error = await this.store(name, sizeBytes)
      if (error !== null && !error.retryable) throw error
      return error === null
    })
  }

  /** Everything that was acknowledged is there, byte for byte. A machine that is slow, or a backend that is, may make a
   *  reader try again. */
  async assertNothingLost(when: string): Promise<void> {
    for (const [name, bytes] of this.#acknowledged) {
      let found: Buffer | StorError = new StorError('unavailable', 'not asked yet')
      for (let asked = 0; asked < 50 && found instanceof StorError; asked++) {
        if (asked > 0) await new Promise(resolve => setTimeout(resolve, 100))
        found = await this.retrieve(name).catch(error => error)
        if (found instanceof StorError && !found.retryable) throw found
      }
      if (!Buffer.isBuffer(found)) throw new Error(`${name} is lost ${when}`, { cause: found })
      assert.ok(found.equals(bytes), `${name} has other bytes ${when}`)
    }
  }

  async record(name: string): Promise<ObjectRecord> {
    const { objects, meta } = await this.runtime.store()
    const id = await objects.idOf({ file: name })
    return decodeRecord((await meta.getAny(objectKey(id)))!.bytes)
  }

  /** Of all objects that live. */
  async records(): Promise<ObjectRecord[]> {
    const { meta } = await this.runtime.store()
    const keys = (await meta.list()).filter(key => objectIdOfKey(key) !== null)
    const stored = await Promise.all(keys.map(key => meta.get(key)))
    const records = stored.filter(one => one !== null).map(({ bytes }) => decodeRecord(bytes))
    return records.filter(({ state }) => state === 'live')
  }

  /** Every shard of everything acknowledged is read, and rebuilt if it is bad; then all are good. */
  async assertMendable(): Promise<void> {
    const { repairer } = await this.runtime.store()
    for (const name of this.#acknowledged.keys()) {
      const { objectId: id } = await this.record(name)
      await until(async () => {
        const { pendingCount } = await repairer.rebuild([id])
        return pendingCount === 0 && (await repairer.inspect(id)).ok
      })
    }
  }

  status(): Promise<StatusResult> {
    return statusOf(this.runtime, this.#objectCount, true)
  }

  /** From here on `told` tells what is new. */
  async mark(): Promise<void> {
    this.#lines.length = 0
    this.#before = new Set(await this.#numbers())
  }

  /** What somebody sees who looks for what happened since the mark: numbers and texts of the status and metrics that
   *  changed, and the log. */
  async told(): Promise<string> {
    const changed = (await this.#numbers()).filter(line => !this.#before.has(line))
    return [...changed, ...this.#lines].join('\n')
  }

  /** Keeps what was told meanwhile, for `told`. */
  note(told: string): void {
    this.#lines.push(told)
  }

  async #numbers(): Promise<string[]> {
    const status = this.#runtime === null ? {} : await this.status()
    return [
      ...flat('status', status),
      ...this.metrics
        .render()
        .split('\n')
        .filter(line => !/_bucket|_sum|_count/.test(line)),
    ]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
    await this.#stack.disposeAsync()
  }

  get #log(): Log {
    const write = (name: string, { error, ...fields }: LogFields = {}) => {
      const text = error instanceof Error ? error.message : ''
      this.#lines.push(`${name} ${JSON.stringify(fields)} ${text}`)
    }
    return { event: write, warn: write, error: write, debug: () => undefined, child: () => this.#log }
  }
}

/** `status.repair.pendingCount = 3`, one line per value. */
function flat(path: string, value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [`${path} = ${value}`]
  return Object.entries(value).flatMap(([key, inner]) => flat(`${path}.${key}`, inner))
}

/** Lets every change of a backend go by the gate first; and what is read back. */
function guard({ fleet, members }: Runtime, gate: Gate): void {
  const guarded = <T extends object>(target: T, methods: readonly (keyof T)[]) => {
    for (const method of methods) {
      const inner = (target[method] as (...args: unknown[]) => Promise<unknown>).bind(target)
      const outer = async (...args: unknown[]) => {
        await gate()
        return await inner(...args)
      }
      Object.defineProperty(target, method, { value: outer })
    }
  }
  for (const { backend } of fleet.data) guarded(backend, ['put', 'sync', 'get', 'remove'])
  for (const member of members) guarded(member, ['set', 'remove'])
}
