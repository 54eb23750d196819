import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { ZdbBackend } from '../src/backend/zdb/zdb-backend.ts'
import { ZdbRecordBackend } from '../src/backend/zdb/zdb-record-backend.ts'
import { backendSuite } from './backend-suite.ts'
import { links, zdbKind } from './zdb-kinds.ts'
import { startCachedb } from './zdb-servers.ts'

// Two real servers for all tests of this file, each test in namespaces of its own.
const running = new AsyncDisposableStack()
after(() => running.disposeAsync())
const adminPassword = 'open sesame'
const [open, locked] = await Promise.all([startCachedb(running), startCachedb(running, adminPassword)])
const { address } = open
const secrets = { adminPassword, namespacePassword: 'mellon' }
const tls = { certificateSha256: locked.certificateSha256 }
const handshake = { version: 'TLSv1.3', group: 'X25519MLKEM768' }

backendSuite(zdbKind('cachedb', 'disk', { tls: null, passwordsSent: 'none' }, async () => ({ address })))
backendSuite(
  zdbKind('cachedb with passwords', 'disk', { tls: null, passwordsSent: 'hashed' }, async () => {
    return { address: locked.address, ...secrets }
  }),
)
backendSuite(
  zdbKind('cachedb behind TLS', 'disk', { tls: handshake, passwordsSent: 'hashed' }, async () => {
    return { address: locked.tlsAddress, tls, ...secrets }
  }),
)

test('the password of a namespace that we create is sent once as it is, and hashed from then on', async () => {
  const place = { address: locked.tlsAddress, tls, ...secrets, namespace: 'made' }
  const passwordsSent = async () => {
    await using backend = new ZdbBackend('c', place, links)
    return (await backend.stat()).link?.passwordsSent
  }
  assert.strictEqual(await passwordsSent(), 'clear')
  assert.strictEqual(await passwordsSent(), 'hashed')
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
  await open.process.kill9()
  await assert.rejects(backend.put(Buffer.from('x')), { reason: 'unavailable' })
  await open.restart()
  assert.deepStrictEqual(await backend.get(id), bytes)
  assert.ok((await backend.put(Buffer.from('y'))) > id)
  await backend.sync()
})
