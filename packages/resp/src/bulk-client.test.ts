import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { crc32c } from '@qsfs/bytes/checksum'
import { systemClock } from '@qsfs/concurrency/clock'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { BulkClient } from './bulk-client.ts'
import { BulkPool } from './bulk-pool.ts'
import { ConnectionLost } from './client.ts'
import type { RespSession } from './connection.ts'
import { RespServer } from './server.ts'

async function socketPath(t: TestContext): Promise<string> {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  return join(directory.path, 's.sock')
}

/** A server whose sessions do nothing but this. */
function serve(path: string, execute: RespSession['execute']): Promise<RespServer> {
  const idle = { serial: false, finished: false, listening: false, replyBytesDue: 0, close: () => undefined }
  return RespServer.listen([{ path }], {
    openSession: () => ({ ...idle, execute }),
    clientsMax: 10,
    clock: systemClock,
    onConnectionError: () => undefined,
  })
}

test('many large values at once arrive in order, and memory that is given back is used again', async t => {
  const prng = seededPrng(t)
  const values = Array.from({ length: 50 }, () => prng.bytes(100_000 + prng.below(200_000)))
  const path = await socketPath(t)
  const execute = (args: Buffer[]) => values[Number(args[1])] ?? null
  await using _server = await serve(path, execute)
  const pool = new BulkPool()
  await using client = await BulkClient.connect({ address: `unix:${path}` }, pool)
  for (let round = 0; round < 3; round++) {
    const replies = await Promise.all(values.map((_, index) => client.call('GET', String(index))))
    for (const [index, reply] of replies.entries()) {
      ok(values[index]!.equals(reply as Buffer), `value ${index} of round ${round}`)
      pool.give(reply as Buffer)
    }
    ok(pool.spareBytes > 0)
  }
  equal(await client.call('GET', 'none'), null)
})

test('large and small arguments arrive as they are, in order', async t => {
  const prng = seededPrng(t)
  const path = await socketPath(t)
  const received: string[] = []
  const execute = (args: Buffer[]) => {
    received.push(args.map(argument => `${argument.length}:${crc32c(argument)}`).join(' '))
    return Buffer.from(args.at(-1)!.subarray(0, 10))
  }
  await using _server = await serve(path, execute)
  await using client = await BulkClient.connect({ address: `unix:${path}` }, new BulkPool())
  const commands = Array.from(
    { length: 60 },
    () => ['SET', prng.bytes(8), prng.bytes(1 + prng.below(200_000))] as const,
  )
  const replies = await Promise.all(commands.map(command => client.call(...command)))
  const sent = commands.map(([name, ...rest]) => [Buffer.from(name), ...rest])
  deepEqual(
    received,
    sent.map(args => args.map(argument => `${argument.length}:${crc32c(argument)}`).join(' ')),
  )
  for (const [index, [, , value]] of commands.entries()) deepEqual(replies[index], value.subarray(0, 10))
})

test('a server that sends what is no reply, or one that nobody asked for, costs the connection', async t => {
  for (const answer of ['HTTP/1.1 400 Bad Request\r\n', '+OK\r\n+OK\r\n$9999999999\r\n']) {
    const path = await socketPath(t)
    const server = createServer(socket => {
      socket.on('error', () => undefined)
      socket.once('data', () => socket.write(answer))
    }).listen(path)
    await once(server, 'listening')
    t.after(() => server.close())
    await using client = await BulkClient.connect({ address: `unix:${path}` }, new BulkPool())
    const calls = [client.call('A'), client.call('B')]
    await rejects(Promise.all([...calls, client.closed.then(reason => Promise.reject(reason))]), Error)
    await rejects(client.call('C'), ConnectionLost)
    equal((await client.closed)?.name, 'MalformedReply')
  }
})

test('the connection is lost in the middle of a value', async t => {
  const path = await socketPath(t)
  const server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end('$1\r\nx\r\n$100000\r\nabc'))
  }).listen(path)
  await once(server, 'listening')
  t.after(() => server.close())
  await using client = await BulkClient.connect({ address: `unix:${path}` }, new BulkPool())
  const [whole, half, none] = [client.call('A'), client.call('B'), client.call('C')]
  const refused = [rejects(half, ConnectionLost), rejects(none, ConnectionLost)]
  equal(String(await whole), 'x')
  await Promise.all(refused)
  ok((await client.closed) instanceof ConnectionLost)
})
