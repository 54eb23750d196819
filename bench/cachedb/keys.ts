import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { RespClient } from '@qsfs/resp/client'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { atMost, type Row, row } from '../row.ts'
import { makeDefaultNamespace } from './data-directory.ts'
import { benchmarkKey } from './load.ts'
import { rssBytes, type Server, startCachedb } from './servers.ts'

/** 5 million, and whole pages of the sequential keydir (1,024 ids each). */
const keyCount = 4_883 * 1_024
const value = Buffer.from('8 bytes.')

/** What a key costs in memory, and how long a start with so many takes. The key directory's own count is that of INFO; the process's
 *  is its private resident memory after a restart, less that of a server without keys. */
export async function keyRows(): Promise<Row[]> {
  const keyBytes = benchmarkKey(0).length
  return [...(await rowsOf('user', benchmarkKey, 48 + keyBytes)), ...(await rowsOf('sequential', () => '', 16))]
}

async function rowsOf(mode: 'user' | 'sequential', keyOf: (index: number) => string, bytesMax: number): Promise<Row[]> {
  const config = `mode = "${mode}"\n`
  const emptyBytes = await emptyServerBytes(config)
  await using tmp = await temporaryDirectory()
  mkdirSync(join(tmp.path, 'cachedb'))
  await makeDefaultNamespace(join(tmp.path, 'cachedb', 'default'), keyCount, { mode, keyOf, value })
  const startedMs = performance.now()
  await using server = await startCachedb(tmp.path, config)
  const startMs = performance.now() - startedMs
  const keydirBytes = await keydirBytesOf(server)
  const processBytes = rssBytes(server.pid) - emptyBytes
  const name = `${keyCount} ${mode} keys${mode === 'user' ? ' of 16 bytes' : ''}`
  return [
    row(`${name}: key directory per key`, keydirBytes / keyCount, 'bytes', { target: atMost(bytesMax) }),
    row(`${name}: private memory of the process per key`, processBytes / keyCount, 'bytes'),
    row(`${name}: start-up from hint files`, startMs / 1000, 's', { target: atMost(5) }),
  ]
}

async function keydirBytesOf(server: Server): Promise<number> {
  await using client = await RespClient.connect({ address: `unix:${server.socketPath}` })
  const info = String(await client.call('NSINFO', 'default'))
  const [entries, bytes] = ['entries', 'index_size_bytes'].map(name =>
    Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(info)?.[1]),
  )
  if (entries !== keyCount) throw new Error(`${entries} keys are there after the restart, not ${keyCount}`)
  return bytes!
}

async function emptyServerBytes(config: string): Promise<number> {
  await using tmp = await temporaryDirectory()
  await using server = await startCachedb(tmp.path, config)
  return rssBytes(server.pid)
}
