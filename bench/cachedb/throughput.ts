import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { middleBy } from '../middle.ts'
import { atLeastRatio, type Row, row } from '../row.ts'
import { benchmarkKey, load } from './load.ts'
import { cpuMs, type Server, startCachedb, startRedis } from './servers.ts'

const rounds = 3
const clients = 16
/** Of keys that SET writes: practically none comes twice. */
const keysOfSet = 1_000_000_000

interface Kind {
  readonly name: string
  readonly command: 'set' | 'get'
  readonly valueBytes: number
  readonly pipeline: number
  readonly requests: number
  readonly ratioMin: number
}

const KiB = 1024
const kinds: readonly Kind[] = [
  { name: 'SET 4 KiB', command: 'set', valueBytes: 4 * KiB, pipeline: 1, requests: 60_000, ratioMin: 0.5 },
  { name: 'SET 4 KiB, -P 16', command: 'set', valueBytes: 4 * KiB, pipeline: 16, requests: 96_000, ratioMin: 0.35 },
  { name: 'SET 128 KiB', command: 'set', valueBytes: 128 * KiB, pipeline: 1, requests: 4_000, ratioMin: 1.5 },
  { name: 'GET 4 KiB', command: 'get', valueBytes: 4 * KiB, pipeline: 1, requests: 60_000, ratioMin: 0.5 },
  { name: 'GET 4 KiB, -P 16', command: 'get', valueBytes: 4 * KiB, pipeline: 16, requests: 96_000, ratioMin: 0.35 },
  { name: 'GET 128 KiB', command: 'get', valueBytes: 128 * KiB, pipeline: 1, requests: 8_000, ratioMin: 0.5 },
]
/** Keys that GET finds: 400 and 512 MiB of values, most of them in closed segments and none twice in the 64 MiB of value cache. */
const keysOfGet: Readonly<Record<number, number>> = { [4 * KiB]: 100_000, [128 * KiB]: 4_000 }

interface Measured {
  readonly perSecond: number
  readonly cpuUs: number
}

/** redis-benchmark against both servers, taking turns; the middle of three rounds. */
export async function throughputRows(): Promise<Row[]> {
  const rows: Row[] = []
  for (const kind of kinds) {
    const measured = kind.command === 'set' ? await measureSet(kind) : await measureGet(kind)
    const ours = middleBy(measured.cachedb, perSecond)
    const theirs = middleBy(measured.redis, perSecond)
    const against = { name: 'redis', value: theirs.perSecond }
    rows.push(row(kind.name, ours.perSecond, 'requests/s', { against, target: atLeastRatio(kind.ratioMin) }))
    const cpu = { against: { name: 'redis', value: theirs.cpuUs } }
    rows.push(row(`${kind.name}: CPU of the server, each`, ours.cpuUs, 'us', cpu))
    console.error(`bench: ${kind.name}: ${JSON.stringify(measured)}`)
  }
  return rows
}

const perSecond = (measured: Measured) => measured.perSecond

interface Rounds {
  readonly redis: Measured[]
  readonly cachedb: Measured[]
}

/** Each time a server of its own: what the one before wrote is none of its business. */
async function measureSet(kind: Kind): Promise<Rounds> {
  const measured: Rounds = { redis: [], cachedb: [] }
  for (let round = 0; round < rounds; round++) {
    for (const [name, start] of [['redis', startRedis] as const, ['cachedb', startCachedb] as const]) {
      await using tmp = await temporaryDirectory()
      await using server = await start(tmp.path)
      await warmUp(server, kind)
      measured[name].push(await measure(server, kind))
    }
  }
  return measured
}

async function measureGet(kind: Kind): Promise<Rounds> {
  await using tmp = await temporaryDirectory()
  await using redis = await startRedis(tmp.path)
  await using cachedb = await startCachedb(tmp.path)
  await fill(redis, kind)
  await fill(cachedb, kind)
  await warmUp(redis, kind)
  await warmUp(cachedb, kind)
  const measured: Rounds = { redis: [], cachedb: [] }
  for (let round = 0; round < rounds; round++) {
    measured.redis.push(await measure(redis, kind))
    measured.cachedb.push(await measure(cachedb, kind))
  }
  return measured
}

/** A server runs for months, and Node compiles in its first 100,000 requests: what is measured comes behind others, for both servers. */
async function warmUp(server: Server, kind: Kind): Promise<void> {
  // So many large ones would take longer than all the rest.
  if (kind.command === 'set' && kind.valueBytes > 4 * KiB)
    await measure(server, { ...kind, valueBytes: KiB, requests: 30_000 })
  await measure(server, { ...kind, requests: kind.command === 'set' ? kind.requests / 2 : kind.requests })
}

async function measure(server: Server, { command, valueBytes, pipeline, requests }: Kind): Promise<Measured> {
  const keys = command === 'set' ? keysOfSet : keysOfGet[valueBytes]!
  const beforeMs = cpuMs(server.pid)
  const args = ['-s', server.socketPath, '-t', command, '-c', clients, '-P', pipeline, '-d', valueBytes, '-r', keys]
  const { stdout } = await promisify(execFile)('redis-benchmark', [...args, '-n', requests, '--csv'].map(String))
  const cpuUs = ((cpuMs(server.pid) - beforeMs) * 1000) / requests
  // "test","rps","avg_latency_ms",…
  const perSecond = Number(/^"[SG]ET","([\d.]+)"/m.exec(stdout)?.[1])
  if (!(perSecond > 0)) throw new Error(`redis-benchmark printed ${stdout}`)
  return { perSecond, cpuUs }
}

/** Each key that `redis-benchmark -t get -r` may ask for. */
async function fill(server: Server, { valueBytes }: Kind): Promise<void> {
  const value = randomBytes(valueBytes)
  await load(server, keysOfGet[valueBytes]!, { keyOf: benchmarkKey, keyReplyBytes: benchmarkKey(0).length, value })
}
