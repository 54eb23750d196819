import { equal, match, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { seededPrng } from '@qsfs/testkit/prng'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { BulkPool } from './bulk-pool.ts'
import { defaultConnectionLimits, type RespSession } from './connection.ts'
import { type MaybePromise, type Reply, RespError } from './reply.ts'
import { RespServer, SocketUnavailable } from './server.ts'

/** Commands of the tests: ECHO x, FAIL, WAITFOR name (until released), HOLD name (the same, nothing runs beside it), BIG n, LEND n (in memory
 *  of the pool, filled with its number), BYE. */
class TestSession implements RespSession {
  serial = false
  finished = false
  readonly executed: string[]
  readonly gates: Map<string, PromiseWithResolvers<Reply>>
  readonly pool: BulkPool
  #lentCount = 0

  constructor(executed: string[], gates: Map<string, PromiseWithResolvers<Reply>>, pool: BulkPool) {
    this.executed = executed
    this.gates = gates
    this.pool = pool
  }

  execute(args: Buffer[]): MaybePromise<Reply> {
    const [name, argument = ''] = args.map(String)
    this.executed.push(`${name} ${argument}`.trim())
    switch (name) {
      case 'ECHO':
        return Buffer.from(argument)
      case 'WAITFOR':
        return this.#gate(argument).promise
      case 'HOLD':
        this.serial = true
        return this.#gate(argument).promise.finally(() => {
          this.serial = false
        })
      case 'BIG':
        return Buffer.alloc(Number(argument), 0x61)
      case 'LEND':
        return this.pool.take(Number(argument)).fill(++this.#lentCount)
      case 'BYE':
        this.finished = true
        throw new RespError('bye')
      default:
        throw new RespError('Command not supported')
    }
  }

  #gate(name: string): PromiseWithResolvers<Reply> {
    const gate = this.gates.get(name) ?? Promise.withResolvers<Reply>()
    this.gates.set(name, gate)
    return gate
  }

  close(): void {
    this.executed.push('(closed)')
  }
}

/** A raw connection: bytes out, text in. */
class RawClient {
  readonly socket: Socket
  text = ''

  constructor(path: string) {
    this.socket = connect(path)
    this.socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1')
    })
    this.socket.on('error', () => undefined)
  }

  send(text: string): void {
    this.socket.write(text)
  }

  async until(length: number): Promise<string> {
    while (this.text.length < length && !this.socket.destroyed) await once(this.socket, 'data')
    return this.text
  }

  async untilClosed(): Promise<string> {
    if (!this.socket.readableEnded && !this.socket.destroyed) await once(this.socket, 'close')
    return this.text
  }
}

async function start(t: TestContext, limits = defaultConnectionLimits, clientsMax = 100) {
  const directory = await temporaryDirectory()
  const path = join(directory.path, 'resp.sock')
  const executed: string[] = []
  const gates = new Map<string, PromiseWithResolvers<Reply>>()
  const pool = new BulkPool()
  const server = await RespServer.listen([{ path }], {
    openSession: () => new TestSession(executed, gates, pool),
    pool,
    clientsMax,
    clock: systemClock,
    onConnectionError: () => undefined,
    limits,
  })
  const clients: RawClient[] = []
  t.after(async () => {
    for (const client of clients) client.socket.destroy()
    await server[Symbol.asyncDispose]()
    await directory[Symbol.asyncDispose]()
  })
  const connectClient = () => {
    const client = new RawClient(path)
    clients.push(client)
    return client
  }
  return { path, server, pool, executed, gates, connectClient }
}

/** Lets the server read and answer what was sent: a second connection made a round trip. */
async function roundTrip(client: RawClient): Promise<void> {
  const before = client.text.length
  client.send('ECHO x\r\n')
  await client.until(before + '$1\r\nx\r\n'.length)
}

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
    const { connectClient } = await start(t, { ...defaultConnectionLimits, receiveBytes })
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
  const { connectClient, gates, executed } = await start(t, { ...defaultConnectionLimits, runningMax: 2 })
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
  const { connectClient, executed } = await start(t)
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
  const { connectClient, pool } = await start(t)
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
  const { connectClient } = await start(t, defaultConnectionLimits, 1)
  const first = connectClient()
  await roundTrip(first)
  match(await connectClient().untilClosed(), /^-ERR max number of clients reached/)
  await roundTrip(first)
})

test('the socket is ours alone; a live one is refused, a stale one replaced', async t => {
  const { path } = await start(t)
  equal(statSync(path).mode & 0o777, 0o700)
  const options = {
    openSession: () => new TestSession([], new Map(), new BulkPool()),
    clientsMax: 1,
    clock: systemClock,
    onConnectionError: () => undefined,
  }
  await rejects(RespServer.listen([{ path }], options), SocketUnavailable)
  await rejects(RespServer.listen([{ path: `/tmp/${'x'.repeat(120)}` }], options), /longer than 107 bytes/)

  await using directory = await temporaryDirectory()
  const stale = join(directory.path, 'stale.sock')
  const script = `require('net').createServer().listen(${JSON.stringify(stale)}, () => console.log('up'))`
  await using dying = spawnProcess(process.execPath, ['-e', script])
  await dying.waitForLine(/up/)
  await rejects(RespServer.listen([{ path: stale }], options), /another server listens/)
  await dying.kill9()
  await using server = await RespServer.listen([{ path: stale }, { host: '127.0.0.1', port: 0 }], options)
  ok(server.port! > 0)

  const file = join(directory.path, 'file')
  writeFileSync(file, '')
  await rejects(RespServer.listen([{ path: file }], options), /not a socket/)
})
