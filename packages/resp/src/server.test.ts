import { equal, match, ok, rejects } from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { seededPrng } from '@qsfs/testkit/prng'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { Outlet } from './connection.ts'
import { ClientDropped, defaultConnectionLimits } from './limits.ts'
import { RespError } from './reply.ts'
import { RespServer, SocketUnavailable } from './server.ts'
import { roundTrip, sharedBySessions, start, TestSession } from './testing/test-server.ts'

test('pipelined commands are answered in order, in one go', async t => {
  const { connectClient } = await start(t)
  const client = connectClient()
  client.send('ECHO a\r\nNOPE\r\n*2\r\n$4\r\nECHO\r\n$1\r\nb\r\n')
  const expected = '$1\r\na\r\n-Command not supported\r\n$1\r\nb\r\n'
  equal(await client.until(expected.length), expected)
})

for (const receiveBytes of [0, 5000, defaultConnectionLimits.receiveBytes]) {
  test(`what several clients send at once stays apart, read into ${receiveBytes || 'fresh'} bytes`, async t => {
    const prng = seededPrng(t)
    const { connectClient } = await start(t, { limits: { ...defaultConnectionLimits, receiveBytes } })
    const clients = Array.from({ length: 4 }, connectClient)
    const expected = clients.map(() => '')
    for (let round = 0; round < 40; round++) {
      const index = prng.below(clients.length)
      const text = String.fromCharCode(97 + prng.below(26)).repeat(prng.below(prng.pick([10, 3000, 200_000])))
      clients[index]!.send(`*2\r\n$4\r\nECHO\r\n$${text.length}\r\n${text}\r\n`)
      expected[index] += `$${text.length}\r\n${text}\r\n`
    }
    for (const [index, client] of clients.entries()) {
      ok((await client.until(expected[index]!.length)) === expected[index])
    }
  })
}

test('a waiting command holds up its own connection only, and later ones run behind it with replies in order', async t => {
  const { connectClient, gates, executed } = await start(t)
  const [waiting, other] = [connectClient(), connectClient()]
  waiting.send('WAITFOR gate\r\nECHO after\r\n')
  await roundTrip(other)
  while (!executed.includes('ECHO after')) await roundTrip(other)
  equal(waiting.text, '')
  gates.get('gate')!.resolve('done')
  equal(await waiting.until(18), '+done\r\n$5\r\nafter\r\n')
})

test('nothing runs beside a serial command', async t => {
  const { connectClient, gates, executed } = await start(t)
  const [holding, other] = [connectClient(), connectClient()]
  holding.send('HOLD gate\r\nECHO after\r\n')
  while (!executed.includes('HOLD gate')) await roundTrip(other)
  await roundTrip(other)
  ok(!executed.includes('ECHO after'))
  gates.get('gate')!.reject(new RespError('no'))
  equal(await holding.until(16), '-no\r\n$5\r\nafter\r\n')
})

test('no more than runningMax commands run at once', async t => {
  const { connectClient, gates, executed } = await start(t, { limits: { ...defaultConnectionLimits, runningMax: 2 } })
  const [client, other] = [connectClient(), connectClient()]
  client.send('WAITFOR 1\r\nWAITFOR 2\r\nWAITFOR 3\r\n')
  while (!gates.has('2')) await roundTrip(other)
  await roundTrip(other)
  ok(!gates.has('3'))
  gates.get('1')!.resolve(1)
  while (!executed.includes('WAITFOR 3')) await roundTrip(other)
  gates.get('2')!.resolve(2)
  gates.get('3')!.resolve(3)
  equal(await client.until(12), ':1\r\n:2\r\n:3\r\n')
})

test('a client that does not read is not executed for, and gets every byte once it reads', async t => {
  const limits = { ...defaultConnectionLimits, outputBytesMax: 1024 * 1024 }
  const { connectClient, executed } = await start(t, { limits })
  const [slow, other] = [connectClient(), connectClient()]
  slow.socket.pause()
  const megabyte = 1024 * 1024
  slow.send(`BIG ${megabyte}\r\n`.repeat(64))
  for (let round = 0; round < 20; round++) await roundTrip(other)
  const begun = executed.filter(command => command.startsWith('BIG')).length
  ok(begun < 10, `${begun} replies of 1 MiB were made for a client that reads nothing`)
  slow.socket.resume()
  const text = await slow.until(64 * (`$${megabyte}\r\n\r\n`.length + megabyte))
  equal(text.length, 64 * (`$${megabyte}\r\n\r\n`.length + megabyte))
})

test('a reply in memory of the pool goes back there once it is sent, and not before', async t => {
  const { connectClient, pool } = await start(t, {
    limits: { ...defaultConnectionLimits, outputBytesMax: 1024 * 1024 },
  })
  const client = connectClient()
  const [count, valueBytes] = [40, 128 * 1024]
  client.socket.pause()
  client.send(`LEND ${valueBytes}\r\n`.repeat(count))
  await roundTrip(connectClient())
  client.socket.resume()
  const frame = (index: number) => `$${valueBytes}\r\n${String.fromCharCode(index + 1).repeat(valueBytes)}\r\n`
  const expected = Array.from({ length: count }, (_, index) => frame(index)).join('')
  ok((await client.until(expected.length)) === expected)
  await roundTrip(client)
  ok(pool.spareBytes > 0 && pool.spareBytes < count * valueBytes, `${pool.spareBytes} bytes are spare`)
})

test('a malformed request is answered and closed; others do not notice', async t => {
  const { connectClient } = await start(t)
  const [bad, good] = [connectClient(), connectClient()]
  bad.send('ECHO a\r\n*0\r\nECHO b\r\n')
  equal(await bad.untilClosed(), '$1\r\na\r\n-Missing arguments\r\n')
  await roundTrip(good)
})

test('an oversized bulk is answered though the client goes on sending it', async t => {
  const { connectClient } = await start(t)
  const client = connectClient()
  client.send('*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9000000\r\n')
  for (let sent = 0; sent < 9_000_000; sent += 500_000) client.send('x'.repeat(500_000))
  equal(await client.untilClosed(), '-Payload too big\r\n')
})

test('a header line without an end is closed without a word', async t => {
  const { connectClient } = await start(t)
  const client = connectClient()
  client.send(`*${'1'.repeat(9000)}`)
  equal(await client.untilClosed(), '')
})

test('a client that has sent everything still gets its replies', async t => {
  const { connectClient, gates, executed } = await start(t)
  const [client, other] = [connectClient(), connectClient()]
  client.socket.end('WAITFOR gate\r\nECHO last\r\n')
  while (!executed.includes('ECHO last')) await roundTrip(other)
  gates.get('gate')!.resolve('first')
  equal(await client.untilClosed(), '+first\r\n$4\r\nlast\r\n')
})

test('a session that says so is closed behind its reply', async t => {
  const { connectClient, executed } = await start(t)
  const client = connectClient()
  client.send('BYE\r\nECHO never\r\n')
  equal(await client.untilClosed(), '-bye\r\n')
  ok(!executed.includes('ECHO never'))
})

test('more clients than allowed are refused', async t => {
  const { connectClient } = await start(t, { clientsMax: 1 })
  const first = connectClient()
  await roundTrip(first)
  match(await connectClient().untilClosed(), /^-ERR max number of clients reached/)
  await roundTrip(first)
})

test('the socket is ours alone; a live one is refused, a stale one replaced', async t => {
  const { path } = await start(t)
  equal(statSync(path).mode & 0o777, 0o700)
  const options = {
    openSession: (outlet: Outlet) => new TestSession(outlet, sharedBySessions()),
    clientsMax: 1,
    clock: systemClock,
    onConnectionError: () => undefined,
  }
  await rejects(RespServer.listen([{ path }], options), SocketUnavailable)
  await rejects(RespServer.listen([{ path: `${path}.none/socket` }], options), /its directory does not exist/)
  await rejects(RespServer.listen([{ path: `/tmp/${'x'.repeat(120)}` }], options), /longer than 107 bytes/)

  await using directory = await temporaryDirectory()
  const stale = join(directory.path, 'stale.sock')
  const script = `require('net').createServer().listen(${JSON.stringify(stale)}, () => console.log('up'))`
  await using dying = spawnProcess(process.execPath, ['-e', script])
  await dying.waitForLine(/up/)
  await rejects(RespServer.listen([{ path: stale }], options), /another server listens/)
  await dying.kill9()
  await using server = await RespServer.listen([{ path: stale }, { host: '127.0.0.1', port: 0 }], options)
  ok(server.ports[0]! > 0)

  const file = join(directory.path, 'file')
  writeFileSync(file, '')
  await rejects(RespServer.listen([{ path: file }], options), /not a socket/)
})

test('what is pushed comes between replies, behind those that are owed', async t => {
  const { connectClient, gates, executed } = await start(t)
  const [listening, other] = [connectClient(), connectClient()]
  listening.send('LISTEN\r\nECHO now\r\n')
  equal(await listening.until(9), '$3\r\nnow\r\n')
  other.send('PUSH one\r\nPUSH two\r\n')
  equal(await listening.until(27), '$3\r\nnow\r\n$3\r\none\r\n$3\r\ntwo\r\n')

  listening.text = ''
  listening.send('WAITFOR gate\r\n')
  while (!executed.includes('WAITFOR gate')) await roundTrip(other)
  other.send('PUSH three\r\n')
  while (!executed.includes('PUSH three')) await roundTrip(other)
  listening.send('ECHO last\r\n')
  while (!executed.includes('ECHO last')) await roundTrip(other)
  equal(listening.text, '')
  gates.get('gate')!.resolve(1)
  equal(await listening.until(25), ':1\r\n$5\r\nthree\r\n$4\r\nlast\r\n')
})

test('a listener is not dropped for a large reply that it asked for', async t => {
  const limits = { ...defaultConnectionLimits, pushBytesMax: 1_000_000 }
  const { connectClient, errors } = await start(t, { limits })
  const [listening, other] = [connectClient(), connectClient()]
  listening.send('LISTEN\r\n')
  await roundTrip(listening)
  listening.text = ''
  listening.socket.pause()
  const bytes = 8_000_000
  listening.send(`BIG ${bytes}\r\n`)
  await roundTrip(other)
  other.send('PUSH news\r\n')
  await other.until(other.text.length + 4)
  listening.socket.resume()
  const expectedBytes = `$${bytes}\r\n\r\n$4\r\nnews\r\n`.length + bytes
  equal((await listening.until(expectedBytes)).length, expectedBytes)
  equal(errors.length, 0)
})

test('a listener that reads nothing is dropped, and nobody else notices', async t => {
  const limits = { ...defaultConnectionLimits, pushBytesMax: 3_000_000 }
  const { connectClient, errors, listeners } = await start(t, { limits })
  const [deaf, listening, other] = [connectClient(), connectClient(), connectClient()]
  for (const client of [deaf, listening]) {
    client.send('LISTEN\r\n')
    await roundTrip(client)
  }
  deaf.socket.pause()
  const text = 'x'.repeat(100_000)
  for (let round = 0; round < 60; round++) {
    other.send(`*2\r\n$4\r\nPUSH\r\n$100000\r\n${text}\r\n`)
    await other.until(other.text.length + 4)
  }
  equal(listeners.size, 1)
  ok(errors.length === 1 && errors[0] instanceof ClientDropped)
  match(errors[0].message, /^it left \d+ bytes of what it listens to unread$/)
  const expectedBytes = '$1\r\nx\r\n'.length + 60 * (text.length + '$100000\r\n\r\n'.length)
  equal((await listening.until(expectedBytes)).length, expectedBytes)
})

test('a client that sends a whole pipeline of megabytes before it reads anything', async t => {
  const { connectClient } = await start(t)
  const client = connectClient()
  await roundTrip(client)
  client.text = ''
  client.socket.pause()
  const text = 'x'.repeat(20)
  const sent = Promise.withResolvers<void>()
  client.socket.write(`*2\r\n$4\r\nECHO\r\n$20\r\n${text}\r\n`.repeat(100_000), () => sent.resolve())
  await sent.promise
  client.socket.resume()
  const expected = `$20\r\n${text}\r\n`.repeat(100_000)
  ok((await client.until(expected.length)) === expected)
})
