import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { makeCertificate } from '@qsfs/resp/testing/certificates'
import { readIdentity } from '@qsfs/resp/tls/identity'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'

const CACHEDB = new URL('../../cachedb/src/main.ts', import.meta.url).pathname

export interface CachedbServer {
  process: SpawnedProcess
  readonly path: string
  /** `unix:…` */
  readonly address: string
  /** `tls://127.0.0.1:port`, and what to pin; '' without TLS. */
  readonly tlsAddress: string
  readonly certificateSha256: string
  /** Starts it again on the same data. */
  restart(): Promise<void>
}

/** A real cachedb with both kinds of namespaces, on a unix socket and, unless it has no admin password, behind TLS. */
export async function startCachedb(stack: AsyncDisposableStack, adminPassword?: string): Promise<CachedbServer> {
  const { path } = stack.use(await temporaryDirectory())
  await mkdir(`${path}/data`)
  const lines = ['[cachedb]', `data_dir = "${path}/data"`, `socket = "${path}/socket"`, 'mode = "mixed"']
  let certificateSha256 = ''
  if (adminPassword !== undefined) {
    const { certificatePath, keyPath } = makeCertificate(path, 'server')
    certificateSha256 = readIdentity(certificatePath, keyPath).sha256
    await writeFile(`${path}/password`, `${adminPassword}\n`, { mode: 0o600 })
    lines.push(`admin_password_file = "${path}/password"`, 'tls_listen = "127.0.0.1:0"')
    lines.push(`tls_cert = "${certificatePath}"`, `tls_key = "${keyPath}"`)
  }
  await writeFile(`${path}/cachedb.toml`, `${lines.join('\n')}\n`)
  const start = async () => {
    const started = stack.use(spawnProcess(process.execPath, [CACHEDB, '--config', `${path}/cachedb.toml`]))
    await started.waitForLine(/server\.ready/)
    return started
  }
  const started = await start()
  let tlsAddress = ''
  if (adminPassword !== undefined) {
    const [line] = await started.waitForLine(/.*"tls\.served".*/)
    tlsAddress = `tls://127.0.0.1:${JSON.parse(line).port}`
  }
  const server: CachedbServer = {
    process: started,
    path,
    address: `unix:${path}/socket`,
    tlsAddress,
    certificateSha256,
    async restart() {
      server.process = await start()
    },
  }
  return server
}

/** A 0-db of the C kind, from its binary, on a unix socket. @returns its address */
export async function startZdb(stack: AsyncDisposableStack, binary: string, adminPassword?: string): Promise<string> {
  const { path } = stack.use(await temporaryDirectory())
  const places = ['--data', `${path}/data`, '--index', `${path}/index`, '--socket', `${path}/socket`]
  const admin = adminPassword === undefined ? [] : ['--admin', adminPassword]
  const server = stack.use(spawnProcess(binary, [...places, ...admin]))
  let end: number | string | null = null
  server.exited.then(code => {
    end = code
  })
  while (!(await isAnswering(`${path}/socket`))) {
    if (end !== null) throw new Error(`${binary} ended with ${end}: ${server.stdout}${server.stderr}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return `unix:${path}/socket`
}

function isAnswering(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
