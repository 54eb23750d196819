import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { atLeast, atMost, type Row, row } from './row.ts'

const fileMiB = 256
const backendCount = 6
/** As packages/qsfs/bin/qsfs sets it. */
const launcherEnv = { MALLOC_ARENA_MAX: '2' }
const program = (app: string) => new URL(`../apps/${app}/src/main.ts`, import.meta.url).pathname

/** An incompressible file through a real stor to six real local backends at 4+2, pieces on their disks, and back. The
 *  best of three: other work on the machine only ever makes it slower. */
export async function rows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using processes = new AsyncDisposableStack()
  const start = async (app: string, name: string, config: string): Promise<SpawnedProcess> => {
    const configPath = join(tmp.path, `${name}.toml`)
    await writeFile(configPath, config)
    return processes.use(spawnProcess(process.execPath, [program(app), '--config', configPath], { env: launcherEnv }))
  }
  const sockets = Array.from({ length: backendCount }, (_, i) => join(tmp.path, `backend-${i}.sock`))
  await Promise.all(sockets.map((socket, i) => start('cachedb', `backend-${i}`, cachedbConfig(tmp.path, socket, i))))
  await Promise.all(sockets.map(waitForSocket))
  const socket = join(tmp.path, 'stor.sock')
  const stor = await start('stor', 'stor', storConfig(tmp.path, socket, sockets))
  await waitForSocket(socket)

  const file = join(tmp.path, 'random')
  const chunk = Buffer.alloc(2 ** 20)
  for (let i = 0; i < fileMiB; i++) await appendFile(file, randomFillSync(chunk))
  const storesMs: number[] = []
  const retrievesMs: number[] = []
  for (let round = 0; round < 3; round++) {
    const name = `/bench/${round}`
    storesMs.push(await timed(() => ask(socket, { verb: 'store', file, name })))
    retrievesMs.push(await timed(() => ask(socket, { verb: 'retrieve', file: join(tmp.path, 'back'), name })))
  }
  const megabytes = (fileMiB * 2 ** 20) / 1e6
  const speed = (timesMs: readonly number[]) => megabytes / (Math.min(...timesMs) / 1000)
  return [
    row(`stor: store ${fileMiB} MiB to six backends, synced`, speed(storesMs), 'MB/s', { target: atLeast(100) }),
    row(`stor: retrieve ${fileMiB} MiB from them`, speed(retrievesMs), 'MB/s'),
    row('stor: RSS while storing and retrieving, peak', await peakMiB(stor.pid), 'MiB', { target: atMost(300) }),
  ]
}

function cachedbConfig(directory: string, socket: string, index: number): string {
  return `[cachedb]\ndata_dir = "${join(directory, `data-${index}`)}"\nsocket = "${socket}"\n`
}

function storConfig(directory: string, socket: string, sockets: readonly string[]): string {
  const backend = (namespace: string) => (path: string, i: number) =>
    `{ address = "unix:${path}", namespace = "${namespace}", name = "${namespace}-${i}" }`
  const groups = [0, 2, 4].map(
    i =>
      `[[stor.groups]]\nbackends = [${[sockets[i]!, sockets[i + 1]!].map((path, j) => backend('data')(path, i + j))}]\n`,
  )
  return [
    '[stor]\nminimal_shards = 4\nexpected_shards = 6\nredundant_groups = 1\ncreate_namespaces = true',
    `socket = "${socket}"\nmaster_key_file = "${join(directory, 'master.key')}"`,
    ...groups,
    `[stor.meta.config]\nminimal_shards = 2\nbackends = [${sockets.map(backend('meta'))}]\n`,
  ].join('\n')
}

async function waitForSocket(path: string): Promise<void> {
  const giveUp = AbortSignal.timeout(60_000)
  for (;;) {
    const socket = connect(path)
    try {
      await once(socket, 'connect')
      return
    } catch (error) {
      if (giveUp.aborted) throw error
      await new Promise(resolve => setTimeout(resolve, 50))
    } finally {
      socket.destroy()
    }
  }
}

/** One question to stor's control socket, docs/formats/stor-control.md. */
async function ask(path: string, request: Readonly<Record<string, unknown>>): Promise<void> {
  const socket = connect(path).setEncoding('utf8')
  socket.write(`${JSON.stringify(request)}\n`)
  let received = ''
  for await (const text of socket) {
    received += text
    const last = received.split('\n').at(-2)
    if (last === undefined) continue
    const answer = JSON.parse(last) as { result?: unknown; error?: { message: string } }
    if (answer.error !== undefined) throw new Error(answer.error.message)
    if (answer.result !== undefined) return
  }
  throw new Error(`stor hung up: ${received}`)
}

async function timed(action: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await action()
  return performance.now() - startMs
}

async function peakMiB(pid: number): Promise<number> {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))
  if (line === null) throw new Error(`no VmHWM of ${pid}`)
  return Number(line[1]) / 1024
}
