import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect as connectInClear, createServer, type Server, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { BulkClient } from '../bulk-client.ts'
import { BulkPool } from '../bulk-pool.ts'
import { ConnectionLost, RespClient, type RespClientOptions } from '../client.ts'
import { ClientDropped, defaultConnectionLimits } from '../limits.ts'
import type { RespServerOptions } from '../server.ts'
import { makeCertificate } from '../testing/certificates.ts'
import { firstOf, roundTrip, start } from '../testing/test-server.ts'
import { hybridGroups, knownGroups, type TlsGroup } from './groups.ts'
import { readIdentity } from './identity.ts'
import { groupOf } from './peer.ts'

async function temporaryIn(t: TestContext): Promise<string> {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  return directory.path
}

/** A server on a unix socket and behind TLS. */
async function startTls(
  t: TestContext,
  groups: readonly TlsGroup[] = hybridGroups,
  options: Partial<RespServerOptions> = {},
) {
  const { certificatePath, keyPath } = makeCertificate(await temporaryIn(t), 'server')
  const identity = readIdentity(certificatePath, keyPath)
  const started = await start(t, options, [{ host: '127.0.0.1', port: 0, tls: { identity, groups } }])
  const port = started.server.ports[0]!
  const address = `tls://127.0.0.1:${port}`
  const socket = async (socketOptions: ConnectionOptions = {}): Promise<TLSSocket> => {
    const made = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...socketOptions })
    t.after(async () => void made.destroy())
    await once(made, 'secureConnect')
    return made
  }
  return { ...started, identity, port, address, socket }
}

const clients: Record<string, (options: RespClientOptions) => Promise<RespClient | BulkClient>> = {
  RespClient: options => RespClient.connect(options),
  BulkClient: options => BulkClient.connect(options, new BulkPool()),
}

for (const [name, connectClient] of Object.entries(clients)) {
  test(`${name}: pinned, it exchanges its keys by X25519 and ML-KEM, and sees the same server as the unix socket`, async t => {
    const prng = seededPrng(t)
    const { address, identity, path, executed } = await startTls(t)
    const certificateSha256 = identity.sha256
    await using client = await connectClient({ address, tls: { certificateSha256 } })
    deepEqual(client.tlsPeer, { version: 'TLSv1.3', group: 'X25519MLKEM768', certificateSha256 })
    const values = Array.from({ length: 40 }, () => prng.bytes(prng.below(prng.pick([10, 20_000, 400_000]))))
    // Buffers that are no UTF-8 would be changed by ECHO of the test's session.
    const texts = values.map(value => value.toString('hex'))
    const replies = await Promise.all(texts.map(text => client.call('ECHO', text)))
    for (const [index, reply] of replies.entries()) ok(String(reply) === texts[index], `value ${index}`)
    await using local = await connectClient({ address: `unix:${path}` })
    equal(local.tlsPeer, null)
    await local.call('ECHO', 'local')
    equal(executed.at(-1), 'ECHO local')
  })

  test(`${name}: an authority that signed the certificate is trusted for the names in it`, async t => {
    const { address, identity } = await startTls(t)
    await using client = await connectClient({ address, tls: { authorities: identity.certificates } })
    equal(client.tlsPeer?.certificateSha256, identity.sha256)
    const other = makeCertificate(await temporaryIn(t), 'other')
    const authorities = readIdentity(other.certificatePath, other.keyPath).certificates
    await rejects(connectClient({ address, tls: { authorities } }), /cannot connect to tls:.*self-signed certificate/)
  })

  test(`${name}: a server of TLS 1.2, of classical keys only, or of no TLS, gets no password, and is called by its fault`, async t => {
    const directory = await temporaryIn(t)
    const { certificatePath, keyPath } = makeCertificate(directory, 'server')
    const identity = { key: readFileSync(keyPath), cert: readFileSync(certificatePath) }
    const received: string[] = []
    const hear = (socket: Socket) => {
      socket.on('error', () => undefined)
      socket.on('data', bytes => received.push(String(bytes)))
    }
    const cases: [Server, RegExp][] = [
      [createTlsServer({ ...identity, maxVersion: 'TLSv1.2' }, hear), /: the server does not speak TLS 1\.3$/],
      [
        createTlsServer({ ...identity, ecdhCurve: 'X25519' }, hear),
        /: the server knows none of the key exchanges X25519MLKEM768/,
      ],
      [
        createServer(socket => void socket.on('error', () => undefined).end('-ERR\r\n')),
        /: the server does not speak TLS$/,
      ],
    ]
    for (const [server, sentence] of cases) {
      server.listen(0, '127.0.0.1')
      t.after(() => server.close())
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      const tls = { certificateSha256: 'ab'.repeat(32) }
      await rejects(connectClient({ address: `tls://127.0.0.1:${port}`, adminPassword: 'secret', tls }), sentence)
    }
    deepEqual(received, [])
  })

  test(`${name}: a server that accepts and stays silent is given up`, async t => {
    const server = createServer(socket => void socket.on('error', () => undefined)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const { port } = server.address() as AddressInfo
    const options = { address: `tls://127.0.0.1:${port}`, connectTimeoutMs: 100 }
    await rejects(connectClient(options), { name: 'ConnectionLost' })
  })
}

test('each known group is taken when it is asked for, and a hybrid one is the default', async t => {
  for (const group of knownGroups) {
    const { address, identity } = await startTls(t, [group])
    const tls = { certificateSha256: identity.sha256, groups: [group] }
    await using client = await RespClient.connect({ address, tls })
    // OpenSSL calls P-256 and P-384 by their older names.
    equal(client.tlsPeer?.group, { 'P-256': 'prime256v1', 'P-384': 'secp384r1' }[group as string] ?? group)
  }
})

test('who offers no hybrid group, or no TLS 1.3, or no TLS at all, does not get in', async t => {
  const { socket, port, executed, errors, server } = await startTls(t)
  for (const options of [{ ecdhCurve: 'X25519' }, { ecdhCurve: 'P-256:P-384' }, { maxVersion: 'TLSv1.2' }] as const) {
    await rejects(socket(options), { code: /^ERR_SSL_|ECONNRESET/ } as never)
  }
  const clear = connectInClear(port, '127.0.0.1')
  clear.on('error', () => undefined)
  clear.write('ECHO clear\r\n')
  clear.resume()
  await once(clear, 'close')
  equal(errors.length, 4)
  deepEqual(executed, [])
  equal(server.clientCount, 0)
  const classical = await startTls(t, [...hybridGroups, 'X25519'])
  equal(groupOf(await classical.socket({ ecdhCurve: 'X25519' })), 'X25519')
  equal(groupOf(await classical.socket()), 'X25519MLKEM768')
})

test('another certificate than the pinned one, or an unknown authority without a pin, gets no byte', async t => {
  const { address, executed, identity } = await startTls(t)
  const wrong = { address, adminPassword: 'secret', tls: { certificateSha256: 'ab'.repeat(32) } }
  await rejects(RespClient.connect(wrong), (error: unknown) => {
    ok(error instanceof ConnectionLost)
    match(error.message, new RegExp(`the server's certificate has SHA-256 ${identity.sha256}, not the pinned one$`))
    return true
  })
  await rejects(RespClient.connect({ address, adminPassword: 'secret' }), /self-signed certificate/)
  deepEqual(
    executed.filter(command => command !== '(closed)'),
    [],
  )
  const typed = identity.sha256.toUpperCase().replace(/..(?!$)/g, '$&:')
  await using client = await RespClient.connect({ address, tls: { certificateSha256: typed } })
  ok(client.tlsPeer)
  await rejects(RespClient.connect({ address: 'tls://unix:/path' }), TypeError)
})

test('a TLS client that reads nothing holds no more than its limit, and is dropped', async t => {
  const clock = new ManualClock()
  const limits = { ...defaultConnectionLimits, outputBytesMax: 1_000_000, unreadMs: 30_000 }
  const { socket, executed, errors, address, identity } = await startTls(t, hybridGroups, { clock, limits })
  const deaf = await socket()
  deaf.on('error', () => undefined)
  deaf.pause()
  deaf.write('BIG 1000000\r\n'.repeat(64))
  const other = await RespClient.connect({ address, tls: { certificateSha256: identity.sha256 } })
  t.after(() => other[Symbol.asyncDispose]())
  for (let round = 0; round < 30; round++) await other.call('ECHO', 'x')
  const begun = executed.filter(command => command.startsWith('BIG')).length
  ok(begun < 16, `${begun} replies of 1 MB were made for a client that reads nothing`)
  for (let second = 0; second < 35; second++) {
    await clock.advance(1000)
    await other.call('ECHO', 'x')
  }
  ok(errors[0] instanceof ClientDropped)
  equal(errors.length, 1)
})

test('a TLS client that takes one large reply slowly is not dropped', async t => {
  const clock = new ManualClock()
  const limits = { ...defaultConnectionLimits, unreadMs: 5_000 }
  const { socket, errors, server, connectClient } = await startTls(t, hybridGroups, { clock, limits })
  const slow = await socket()
  slow.on('error', () => undefined)
  slow.write(`BIG ${32 * 1024 * 1024}\r\n`)
  for (let second = 0; second < 10; second++) {
    for (let takenBytes = 0; takenBytes < 2 * 1024 * 1024 && !slow.destroyed; ) {
      const taken: Buffer | null = slow.read()
      if (taken !== null) takenBytes += taken.length
      else await firstOf(slow, 'readable', 'close')
    }
    await roundTrip(connectClient())
    await clock.advance(1000)
  }
  deepEqual(errors, [])
  ok(server.clientCount > 0 && !slow.destroyed)
})

test('a TLS client that has sent everything still gets its replies', async t => {
  const { socket } = await startTls(t)
  const client = await socket()
  let text = ''
  client.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
  })
  client.end('ECHO a\r\nBIG 300000\r\nECHO b\r\n')
  await once(client, 'close')
  equal(text, `$1\r\na\r\n$300000\r\n${'a'.repeat(300_000)}\r\n$1\r\nb\r\n`)
})
