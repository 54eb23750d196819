import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { after, test } from 'node:test'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { ZdbBackend } from '../src/backend/zdb-backend.ts'
import { ZdbRecordBackend } from '../src/backend/zdb-record-backend.ts'
import { backendSuite } from './backend-suite.ts'

const CACHEDB = new URL('../../cachedb/src/main.ts', import.meta.url).pathname
const links = { createNamespace: true, connectTimeoutMs: 5000, commandTimeoutMs: 10_000 }

// One real server for all tests of this file, each in namespaces of its own.
const running = new AsyncDisposableStack()
after(() => running.disposeAsync())
const { path } = running.use(await temporaryDirectory())
const address = `unix:${path}/socket`
await mkdir(`${path}/data`)
await writeFile(
  `${path}/cachedb.toml`,
  `[cachedb]\ndata_dir = "${path}/data"\nsocket = "${path}/socket"\nmode = "mixed"\n`,
)
let server = await startServer()
let namespaceCount = 0

async function startServer(): Promise<SpawnedProcess> {
  const started = spawnProcess(process.execPath, [CACHEDB, '--config', `${path}/cachedb.toml`])
  running.use(started)
  await started.waitForLine(/server\.ready/)
  return started
}

backendSuite({
  name: 'cachedb',
  durability: 'disk',
  open: async stack => {
    const namespace = `data${++namespaceCount}`
    const open = async () => stack.use(new ZdbBackend('c', { address, namespace }, links))
    return { backend: await open(), reopen: open }
  },
  openRecords: async stack => {
    return stack.use(new ZdbRecordBackend('c', { address, namespace: `meta${++namespaceCount}` }, links))
  },
})

test('a newer owner of the records shuts the older one out', async () => {
  const place = { address, namespace: 'owned' }
  await using older = new ZdbRecordBackend('older', place, { ...links, ownerId: 'older' })
  await using newer = new ZdbRecordBackend('newer', place, { ...links, ownerId: 'newer' })
  const key = Buffer.from('k')
  await older.set(key, Buffer.from('1'))
  await newer.set(key, Buffer.from('2'))
  await assert.rejects(older.set(key, Buffer.from('3')), { reason: 'refused' })
  assert.strictEqual(String(await older.get(key)), '2')
})

test('what was synced survives kill -9, and the backend connects to the new process', async () => {
  await using backend = new ZdbBackend('c', { address, namespace: 'killed' }, links)
  const bytes = randomBytes(262_160)
  const id = await backend.put(bytes)
  await backend.sync({ ids: [id] })
  await server.kill9()
  await assert.rejects(backend.put(Buffer.from('x')), { reason: 'unavailable' })
  server = await startServer()
  assert.deepStrictEqual(await backend.get(id), bytes)
  assert.ok((await backend.put(Buffer.from('y'))) > id)
  await backend.sync()
})
