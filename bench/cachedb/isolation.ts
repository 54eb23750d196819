import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { RespClient } from '@qsfs/resp/client'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { middle } from '../middle.ts'
import { atMost, type Row, row } from '../row.ts'
import { processorWaitMs, type Server, startCachedb } from './servers.ts'

/** What one client notices of another. */
export async function isolationRows(): Promise<Row[]> {
  return [...(await restoreRows()), ...(await pipelineRows())]
}

const restoreMs = 2_000
const valueBytes = 4096
const hotKeys = 200

/** A store that keeps segments as files and takes two seconds to bring one back. */
const slowStore = `#!/bin/sh
set -eu
file=\${3:-}
case $1 in
jump-data) id=$(printf %s "$file" | md5sum | cut -c1-32); cp "$file" "$STORE/$id"; echo "stored $id" ;;
missing-data) sleep ${restoreMs / 1000}; cp "$STORE/$QSFS_OBJECT_ID" "$file.part"; mv "$file.part" "$file" ;;
esac
`

/** p99 of GETs of values that are there, alone and while another client waits for a segment that is not. */
async function restoreRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  const store = join(tmp.path, 'store')
  const hook = join(tmp.path, 'hook.sh')
  mkdirSync(store)
  writeFileSync(hook, slowStore.replaceAll('$STORE', store))
  chmodSync(hook, 0o755)
  const sizes = 'segment_bytes = "1MiB"\ncache_bytes = "16MiB"\nvalue_cache_bytes = "0"\nmode = "sequential"\n'
  await using server = await startCachedb(tmp.path, `hook = "${hook}"\n${sizes}`)
  const address = `unix:${server.socketPath}`
  await using reader = await RespClient.connect({ address })
  await using waiter = await RespClient.connect({ address })
  const ids: Buffer[] = []
  const insert = async () => {
    for (;;) {
      const id = await reader.call('SET', '', randomBytes(valueBytes)).catch(() => null)
      if (id instanceof Buffer) return void ids.push(id)
      // The cache is full until a store has made room.
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
  for (let n = 0; n < 10_000; n++) await insert()
  const hot = ids.slice(-hotKeys)
  const quiet: number[] = []
  const meanwhile: number[] = []
  for (let round = 0; round < 5; round++) {
    quiet.push(p99(await getFor(reader, hot, restoreMs * 0.9)))
    const startedMs = performance.now()
    const cold = waiter.call('GET', ids[round * 512]!).then(value => {
      if (!(value instanceof Buffer)) throw new Error('the cold value was not restored')
      return performance.now() - startedMs
    })
    meanwhile.push(p99(await getFor(reader, hot, restoreMs * 0.9)))
    const waitedMs = await cold
    if (waitedMs < restoreMs) throw new Error(`nothing was restored: the cold GET took ${waitedMs} ms`)
  }
  const against = { name: 'alone', value: middle(quiet) }
  const target = { comparison: '<=', bound: 1.5, ofRatio: true } as const
  return [
    row('p99 of GET while a segment is restored for another client', middle(meanwhile), 'ms', { against, target }),
  ]
}

async function getFor(client: RespClient, keys: readonly Buffer[], durationMs: number): Promise<number[]> {
  const takenMs: number[] = []
  const endMs = performance.now() + durationMs
  for (let n = 0; performance.now() < endMs; n++) {
    const startedMs = performance.now()
    const value = await client.call('GET', keys[n % keys.length]!)
    takenMs.push(performance.now() - startedMs)
    if (!(value instanceof Buffer)) throw new Error('a hot value is not there')
  }
  return takenMs
}

/** p99 of PING while one other client sends 8 MB of commands at once, again and again. redis-benchmark reads nothing before it has sent
 *  all of them; cachedb keeps up to 16 MiB of replies for a client. */
async function pipelineRows(): Promise<Row[]> {
  const set = (bytes: number) => ['-t', 'set', '-d', String(bytes)]
  return [
    ...(await rowsOfPipeline('SETs of 200 bytes', set(200), 248)),
    ...(await rowsOfPipeline('SETs of 4 KiB', set(4096), 4145)),
    ...(await rowsOfPipeline('EXISTS', ['EXISTS', '__rand_int__'], 35)),
  ]
}

async function rowsOfPipeline(name: string, command: readonly string[], commandBytes: number): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using server = await startCachedb(tmp.path)
  await using client = await RespClient.connect({ address: `unix:${server.socketPath}` })
  const pipeline = Math.floor(8e6 / commandBytes)
  const args = ['-s', server.socketPath, '-c', 1, '-P', pipeline, '-r', 1e9, '-n', 10 * pipeline, '-q']
  const aloneUntilMs = performance.now() + 2_000
  const alone = await pingWhile(client, server, () => performance.now() < aloneUntilMs)
  let isRunning = true
  const running = promisify(execFile)('redis-benchmark', [...args.map(String), ...command], { timeout: 60_000 })
  const end = () => {
    isRunning = false
  }
  running.then(end, end)
  const beside = await pingWhile(client, server, () => isRunning)
  await running
  const what = `p99 of PING while another client pipelines 8 MB of ${name}`
  return [
    row(what, p99(beside.takenMs), 'ms', { against: { name: 'alone', value: p99(alone.takenMs) }, target: atMost(10) }),
    row(`${what}, less waiting for a processor`, p99(beside.busyMs), 'ms', {
      against: { name: 'alone', value: p99(alone.busyMs) },
    }),
  ]
}

interface Pings {
  readonly takenMs: number[]
  /** Of these, without what this process and the server meanwhile waited for a processor: on a busy machine most of it. */
  readonly busyMs: number[]
}

async function pingWhile(client: RespClient, server: Server, isWanted: () => boolean): Promise<Pings> {
  const pings: Pings = { takenMs: [], busyMs: [] }
  const waitedMs = () => processorWaitMs(process.pid) + processorWaitMs(server.pid)
  while (isWanted()) {
    const beforeMs = waitedMs()
    const startedMs = performance.now()
    await client.call('PING')
    const takenMs = performance.now() - startedMs
    pings.takenMs.push(takenMs)
    pings.busyMs.push(Math.max(0, takenMs - (waitedMs() - beforeMs)))
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  return pings
}

function p99(takenMs: number[]): number {
  return takenMs.sort((a, b) => a - b)[Math.floor(takenMs.length * 0.99)]!
}
