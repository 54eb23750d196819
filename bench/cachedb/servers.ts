import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { startProgram } from '../start-program.ts'

/** A server under measurement, on a unix socket of its own. */
export interface Server extends AsyncDisposable {
  readonly name: string
  readonly socketPath: string
  readonly pid: number
  /** Bytes of its answer to a SET of a key of this length. */
  setReplyBytes(keyBytes: number): number
  /** SIGTERM, and waits until it has ended well. */
  stop(): Promise<void>
}

/** As Debian starts it, but for a socket, the append-only file each second and no rewriting of it. */
export async function startRedis(directory: string): Promise<Server> {
  const socketPath = join(directory, 'redis.sock')
  const dataDirectory = join(directory, 'redis')
  mkdirSync(dataDirectory)
  const durable = [
    '--appendonly',
    'yes',
    '--appendfsync',
    'everysec',
    '--save',
    '',
    '--auto-aof-rewrite-percentage',
    '0',
  ]
  const args = ['--port', '0', '--unixsocket', socketPath, '--dir', dataDirectory, ...durable]
  return started('redis', socketPath, spawnProcess('redis-server', args), () => '+OK\r\n'.length)
}

/** With its defaults, and each second a sync as redis has it.
 *  @param keys more lines of its section */
export async function startCachedb(directory: string, keys = ''): Promise<Server> {
  const socketPath = join(directory, 'cachedb.sock')
  const configPath = join(directory, 'qsfs.toml')
  const section = `data_dir = "${join(directory, 'cachedb')}"\nsocket = "${socketPath}"\nfsync = "interval"\n`
  writeFileSync(configPath, `[cachedb]\n${section}${keys}`)
  return started(
    'cachedb',
    socketPath,
    startProgram('cachedb', configPath),
    keyBytes => `$${keyBytes}\r\n\r\n`.length + keyBytes,
  )
}

async function started(
  name: string,
  socketPath: string,
  child: SpawnedProcess,
  setReplyBytes: (keyBytes: number) => number,
): Promise<Server> {
  let exitCode: number | string | null = null
  void child.exited.then(code => {
    exitCode = code
  })
  while (!(await isAnswering(socketPath))) {
    if (exitCode !== null) throw new Error(`${name} ended with ${exitCode}: ${child.stdout}${child.stderr}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  return {
    name,
    socketPath,
    pid: child.pid,
    setReplyBytes,
    async stop() {
      const code = await child.stop()
      if (code !== 0) throw new Error(`${name} ended with ${code}: ${child.stderr}`)
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  }
}

async function isAnswering(socketPath: string): Promise<boolean> {
  const socket = connect(socketPath)
  try {
    await once(socket, 'connect')
    socket.write('PING\r\n')
    await once(socket, 'data')
    return true
  } catch {
    // ENOENT or ECONNREFUSED: not there yet.
    return false
  } finally {
    socket.destroy()
  }
}

/** CPU time of a process with all its threads so far. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** How long the main thread of a process was ready to run and did not, so far. */
export function processorWaitMs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6
}

/** Memory of a process that is its own and resident. */
export function rssBytes(pid: number): number {
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024
}
