/** What `stor test` and `stor status` say of each kind of backend that cannot be used: one sentence, with what to do. */
import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { createServer as createTlsServer } from 'node:tls'
import { systemClock } from '@qsfs/concurrency/clock'
import { RespClient } from '@qsfs/resp/client'
import { makeCertificate } from '@qsfs/resp/testing/certificates'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { DirectoryBackend, DirectoryRecordBackend } from '../src/backend/directory-backend.ts'
import { ZdbBackend } from '../src/backend/zdb/zdb-backend.ts'
import type { ZdbAddress } from '../src/backend/zdb/zdb-link.ts'
import { ObjectCount, statusOf, testStore } from '../src/status.ts'
import { openRuntime, until } from './store-fixture.ts'
import { links } from './zdb-kinds.ts'
import { type CachedbServer, startCachedb } from './zdb-servers.ts'

const running = new AsyncDisposableStack()
after(() => running.disposeAsync())
const adminPassword = 'open sesame'
let open: CachedbServer
let locked: CachedbServer
let directory: string

before(async () => {
  directory = running.use(await temporaryDirectory()).path
  const servers = await Promise.all([startCachedb(running), startCachedb(running, adminPassword)])
  open = servers[0]
  locked = servers[1]
  await using admin = await RespClient.connect({ address: locked.address, adminPassword })
  await admin.call('NSNEW', 'private')
  await admin.call('NSSET', 'private', 'mode', 'seq')
  await admin.call('NSSET', 'private', 'password', 'mellon')
  await admin.call('NSSET', 'private', 'public', '0')
  await admin.call('NSNEW', 'readable')
  await admin.call('NSSET', 'readable', 'mode', 'seq')
  await admin.call('NSSET', 'readable', 'password', 'mellon')
})

/** @returns `127.0.0.1:port` */
async function listening(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  server.on('connection', socket => sockets.add(socket.on('error', () => undefined)))
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  running.defer(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const answering = (bytes: string | Buffer) =>
  listening(createServer(socket => void socket.once('data', () => socket.write(bytes))))

async function closedPort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return `127.0.0.1:${port}`
}

const ours = () => {
  const { certificatePath, keyPath } = makeCertificate(directory, 'other')
  return { key: readFileSync(keyPath), cert: readFileSync(certificatePath) }
}

interface BadBackend {
  readonly what: string
  place(): Promise<Omit<ZdbAddress, 'namespace'> & { readonly namespace?: string }>
  readonly options?: Partial<typeof links>
  readonly reason: 'refused' | 'unavailable'
  readonly sentence: RegExp
}

const table: readonly BadBackend[] = [
  {
    what: 'a wrong admin password',
    place: async () => ({ address: locked.address, adminPassword: 'open barley' }),
    reason: 'refused',
    sentence: /^bad: it refuses the admin password: correct the file of admin_password_file$/,
  },
  {
    what: 'an admin password that nobody wants',
    place: async () => ({ address: open.address, adminPassword }),
    reason: 'refused',
    sentence: /^bad: its server has no admin password: leave admin_password_file out$/,
  },
  {
    what: 'a wrong password of the namespace',
    place: async () => ({ address: locked.address, namespace: 'private', namespacePassword: 'friend' }),
    reason: 'refused',
    sentence: /^bad refuses the password of namespace private: correct it$/,
  },
  {
    what: 'no password of a private namespace',
    place: async () => ({ address: locked.address, namespace: 'private' }),
    reason: 'refused',
    sentence: /^bad: namespace private is private: give its password$/,
  },
  {
    what: 'no password of a namespace that all may read',
    place: async () => ({ address: locked.address, namespace: 'readable' }),
    reason: 'refused',
    sentence: /^bad answers: Namespace is in read-only mode: give the password of its namespace, or unlock it$/,
  },
  {
    what: 'a namespace that is not there, and is not to be made',
    place: async () => ({ address: open.address, namespace: 'dta' }),
    options: { createNamespace: false },
    reason: 'refused',
    sentence: /^bad has no namespace dta: create it, or set create_namespaces$/,
  },
  {
    what: 'a namespace that we may not make',
    place: async () => ({ address: locked.address, namespace: 'new' }),
    reason: 'refused',
    sentence: /^bad has no namespace new, and does not let us create it: create it there, or give admin_password_file$/,
  },
  {
    what: 'a namespace of records',
    place: async () => {
      await using client = await RespClient.connect({ address: open.address })
      await client.call('NSNEW', 'records')
      return { address: open.address, namespace: 'records' }
    },
    reason: 'refused',
    sentence:
      /^bad: namespace records is in mode userkey, not sequential: name another one, in which nothing is stored/,
  },
  {
    what: 'a port where nobody listens',
    place: async () => ({ address: await closedPort() }),
    reason: 'unavailable',
    sentence: /^bad: nothing listens at 127\.0\.0\.1:\d+: start its server, or correct the address$/,
  },
  {
    what: 'a socket that is not there',
    place: async () => ({ address: `unix:${directory}/none` }),
    reason: 'unavailable',
    sentence: /^bad: there is no socket unix:\S+: start its server, or correct the address$/,
  },
  {
    what: 'a host without an address',
    place: async () => ({ address: 'no-such-host.invalid:9900' }),
    reason: 'unavailable',
    sentence:
      /^bad: the host name in no-such-host\.invalid:9900 cannot be resolved: correct it, or this machine's name/,
  },
  {
    what: 'an HTTP server',
    place: async () => ({ address: await listening(createHttpServer((_, answer) => void answer.end('hello'))) }),
    reason: 'unavailable',
    sentence: /^bad: an HTTP server answers at 127\.0\.0\.1:\d+: correct the address$/,
  },
  {
    what: 'garbage',
    place: async () => ({ address: await answering(Buffer.from('\x00\x01\x02\xff\n\r\n')) }),
    reason: 'unavailable',
    sentence: /^bad: what answers at 127\.0\.0\.1:\d+ is no 0-db server \(.*\): correct the address$/,
  },
  {
    what: 'another server of the same protocol',
    place: async () => ({ address: await answering("-ERR unknown command 'NSINFO'\r\n") }),
    reason: 'refused',
    sentence: /^bad answers NSINFO with "ERR unknown command 'NSINFO'": is it a 0-db server\?$/,
  },
  {
    what: 'a server that takes connections and says nothing',
    place: async () => ({ address: await listening(createServer()) }),
    options: { commandTimeoutMs: 100 },
    reason: 'unavailable',
    sentence:
      /^bad: 127\.0\.0\.1:\d+ takes connections and says nothing \(no reply for 100 ms\): it hangs, or is no 0-db/,
  },
  {
    what: 'a server of TLS, not spoken to in TLS',
    place: async () => ({ address: locked.tlsAddress.slice('tls://'.length) }),
    reason: 'unavailable',
    sentence:
      /^bad: 127\.0\.0\.1:\d+ closes the connection at once: is it a TLS port \(tls:\/\/\), or no 0-db server\?$/,
  },
  {
    what: 'no TLS where some was expected',
    place: async () => ({ address: `tls://${await answering('-ERR\r\n')}` }),
    reason: 'unavailable',
    sentence:
      /^bad: the server does not speak TLS: take tls:\/\/ off its address, or give the port of its TLS listener$/,
  },
  {
    what: 'a server of TLS 1.2',
    place: async () => ({ address: `tls://${await listening(createTlsServer({ ...ours(), maxVersion: 'TLSv1.2' }))}` }),
    reason: 'unavailable',
    sentence: /^bad: the server does not speak TLS 1\.3: its server must offer TLS 1\.3$/,
  },
  {
    what: 'a server of classical key exchanges',
    place: async () => ({ address: `tls://${await listening(createTlsServer({ ...ours(), ecdhCurve: 'X25519' }))}` }),
    reason: 'unavailable',
    sentence: /^bad: the server knows none of the key exchanges X25519MLKEM768, .*: its server must offer one of them$/,
  },
  {
    what: 'another certificate than the pinned one',
    place: async () => ({ address: locked.tlsAddress, adminPassword, tls: { certificateSha256: 'ab'.repeat(32) } }),
    reason: 'unavailable',
    sentence:
      /^bad: the server's certificate has SHA-256 [0-9a-f]{64}, not the pinned one: if its certificate was renewed/,
  },
  {
    what: 'a certificate that nobody we trust has signed',
    place: async () => ({ address: locked.tlsAddress, adminPassword }),
    reason: 'unavailable',
    sentence: /^bad: its certificate is not trusted \(self-signed certificate\): set tls_fingerprint, or tls_ca_file$/,
  },
]

describe('a backend that cannot be used says why, and what to do', () => {
  for (const { what, place, options, reason, sentence } of table) {
    test(what, async () => {
      const address = { namespace: 'data', ...(await place()) }
      await using backend = new ZdbBackend('bad', address, { ...links, ...options })
      await assert.rejects(backend.put(Buffer.from('x')), { name: 'StorError', reason, message: sentence })
    })
  }
})

test('a directory that cannot be used says so too', async () => {
  const file = `${directory}/file`
  await writeFile(file, '')
  const cases: [string, RegExp][] = [
    [
      `${directory}/none`,
      /^bad: there is no directory \S+: mount its disk, correct the address, or set create_namespaces$/,
    ],
    [file, /^bad: \S+ is no directory: correct the address$/],
  ]
  for (const [root, message] of cases) {
    const expected = { name: 'StorError', reason: 'unavailable', message }
    await assert.rejects(new DirectoryBackend('bad', root).put(Buffer.from('x')), expected)
    await assert.rejects(new DirectoryRecordBackend('bad', root).set(Buffer.from('k'), Buffer.from('v')), expected)
  }
})

test('stor test and stor status repeat the sentence, and name the TLS of the good ones', async () => {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await temporaryDirectory())
  const http = await listening(createHttpServer((_, answer) => void answer.end('hello')))
  const pinned = `admin_password_file = "${locked.path}/password"\ntls_fingerprint = "${locked.certificateSha256}"\n`
  const backend = (name: string, address: string, more = '') =>
    `name = "${name}"\naddress = "${address}"\nnamespace = "${name}"\n${more}`
  const data = [
    ...['one', 'two'].map(name => backend(name, locked.tlsAddress, pinned)),
    backend('http', http),
    backend('closed', await closedPort()),
  ]
  const config = `${path}/qsfs.toml`
  await writeFile(
    config,
    `[stor]
minimal_shards = 1
expected_shards = 3
redundant_groups = 0
master_key_file = "${path}/master"
create_namespaces = true
health_check_interval = "50ms"
down_after = "2s"
${data.map(lines => `[[stor.groups]]\n[[stor.groups.backends]]\n${lines}`).join('')}
[stor.meta.config]
[[stor.meta.config.backends]]
${backend('meta', locked.tlsAddress, pinned)}`,
  )
  const runtime = await openRuntime(stack, config)
  const { ok, lines } = await testStore(runtime)
  assert.strictEqual(ok, false)
  const texts = new Map(lines.map(line => [line.subject, line.text]))
  assert.match(texts.get('data one')!, /^written and read back/)
  assert.match(texts.get('data http')!, /^an HTTP server answers at /)
  assert.match(texts.get('data closed')!, /^nothing listens at /)
  await until(() =>
    runtime.fleet.data.every(place => runtime.fleet.observeData(place.backend.name).note !== 'not asked yet'),
  )
  await until(() => ['http', 'closed'].every(name => runtime.fleet.isDown(name)))
  const { backends } = await statusOf(runtime, new ObjectCount(systemClock), false)
  const seen = new Map(backends.map(status => [status.name, status]))
  for (const name of ['meta', 'one', 'two']) {
    assert.deepStrictEqual(seen.get(name)?.tls, { version: 'TLSv1.3', group: 'X25519MLKEM768' })
    assert.strictEqual(seen.get(name)?.passwordsSent, 'hashed')
  }
  assert.match(seen.get('http')!.note, /^http: an HTTP server answers at /)
  assert.match(seen.get('closed')!.note, /^closed: nothing listens at /)
  // What is left goes through TLS, and comes back.
  const bytes = randomBytes(3_000_000)
  await writeFile(`${path}/file`, bytes)
  const { objects } = await runtime.store()
  const stored = await objects.store({ file: `${path}/file` })
  assert.strictEqual(stored.shardsConfirmed, 2)
  await objects.retrieve({ file: `${path}/back`, objectId: stored.objectId })
  assert.deepStrictEqual(readFileSync(`${path}/back`), bytes)
})
