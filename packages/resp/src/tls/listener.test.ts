import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectInClear } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { ConnectionLost, RespClient } from '../client.ts'
import { ClientDropped, defaultConnectionLimits } from '../limits.ts'
import type { RespServerOptions } from '../server.ts'
import { makeCertificate } from '../testing/certificates.ts'
import { roundTrip, start } from '../testing/test-server.ts'
import { hybridGroups, knownGroups, type TlsGroup } from './groups.ts'
import { readIdentity } from './identity.ts'
import { groupOf } from './peer.ts'

/** A server on a unix socket and behind TLS. */
async function startTls(
  t: TestContext,
  groups: readonly TlsGroup[] = hybridGroups,
  options: Partial<RespServerOptions> = {},
) {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const { certificatePath, keyPath } = makeCertificate(directory.path, 'server')
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

test('a pinned client exchanges its keys by X25519 and ML-KEM, and sees the same server as the unix socket', async t => {
  const prng = seededPrng(t)
  const { address, identity, path, executed } = await startTls(t)
  const certificateSha256 = identity.sha256
  await using client = await RespClient.connect({ address, tls: { certificateSha256 } })
  deepEqual(client.tlsPeer, { group: 'X25519MLKEM768', certificateSha256 })
  const values = Array.from({ length: 40 }, () => prng.bytes(prng.below(prng.pick([10, 20_000, 400_000]))))
  // Buffers that are no UTF-8 would be changed by ECHO of the test's session.
  const texts = values.map(value => value.toString('hex'))
  const replies = await Promise.all(texts.map(text => client.call('ECHO', text)))
  for (const [index, reply] of replies.entries()) ok(String(reply) === texts[index], `value ${index}`)
  await using local = await RespClient.connect({ address: `unix:${path}` })
  equal(local.tlsPeer, null)
  await local.call('ECHO', 'local')
  equal(executed.at(-1), 'ECHO local')
})

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
      else await Promise.race([once(slow, 'readable'), once(slow, 'close')])
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
