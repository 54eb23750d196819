import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { BulkClient } from './bulk-client.ts'
import { BulkPool } from './bulk-pool.ts'
import { ConnectionLost, parsePositions, RespClient, type RespClientOptions, RespError } from './client.ts'
import { RespParser } from './parser.ts'

interface ScriptedServer {
  readonly address: string
  readonly connectionCount: () => number
  readonly commands: string[]
}

/** A server whose answers are raw bytes; null drops the connection instead of answering, undefined stays silent. */
async function scripted(
  t: TestContext,
  answer: (command: string) => string | null | undefined,
): Promise<ScriptedServer> {
  const directory = await temporaryDirectory()
  const path = join(directory.path, 's.sock')
  const commands: string[] = []
  const sockets = new Set<Socket>()
  let connectionCount = 0
  const server: Server = createServer(socket => {
    const id = ++connectionCount
    sockets.add(socket)
    socket.on('error', () => undefined)
    const parser = new RespParser()
    socket.on('data', (chunk: Buffer) => {
      parser.feed(chunk)
      for (let args = parser.next(); args && !socket.destroyed; args = parser.next()) {
        const command = args.map(String).join(' ')
        commands.push(`${id}: ${command}`)
        const reply = answer(command)
        if (reply === null) socket.destroy()
        else if (reply !== undefined) socket.write(reply)
      }
    })
  })
  server.listen(path)
  await once(server, 'listening')
  t.after(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await directory[Symbol.asyncDispose]()
  })
  return { address: `unix:${path}`, connectionCount: () => connectionCount, commands }
}

const okAlways = () => '+OK\r\n'

const clients: Record<string, (options: RespClientOptions) => Promise<RespClient | BulkClient>> = {
  RespClient: options => RespClient.connect(options),
  BulkClient: options => BulkClient.connect(options, new BulkPool()),
}

for (const [name, connectClient] of Object.entries(clients)) {
  test(`${name}: a connection is AUTH, SELECT, OWNER, and then it exists; a challenge hides the passwords`, async t => {
    const challenges = ['0123456789abcdef', 'fedcba9876543210']
    const server = await scripted(t, command => {
      if (command === 'AUTH SECURE CHALLENGE') return `+${challenges.shift()}\r\n`
      return command.startsWith('OWNER') ? '*1\r\n*5\r\n$2\r\nab\r\n:7\r\n:9\r\n:8\r\n$2\r\ncd\r\n' : '+OK\r\n'
    })
    await using client = await connectClient({
      address: server.address,
      adminPassword: 'root',
      namespace: 'data',
      namespacePassword: 'secret',
      owner: { token: 'fs1', namespaces: ['data'] },
    })
    deepEqual(server.commands, [
      '1: AUTH SECURE CHALLENGE',
      // printf 0123456789abcdef:root | sha1sum
      '1: AUTH SECURE 0cfb1556ed78ee91eb34922309c9d7ff97ad64ba',
      '1: AUTH SECURE CHALLENGE',
      '1: SELECT data SECURE 96e99ea5c8396f47f887cc707a267e5a3b29b0d9',
      '1: OWNER fs1 data',
    ])
    deepEqual(client.positions, [{ instance: 'ab', nextId: 7, appended: 9, synced: 8, incarnation: 'cd' }])
    equal(client.passwordsSent, 'hashed')
  })

  test(`${name}: a server that knows no challenge gets the passwords, one that mocks it does not`, async t => {
    const old = await scripted(t, command => (command.includes('SECURE') ? '-Unexpected arguments\r\n' : '+OK\r\n'))
    const options = { adminPassword: 'root', namespace: 'data', namespacePassword: 'secret' }
    await using client = await connectClient({ address: old.address, ...options })
    deepEqual(old.commands, [
      '1: AUTH SECURE CHALLENGE',
      '1: AUTH root',
      '1: AUTH SECURE CHALLENGE',
      '1: SELECT data secret',
    ])
    equal(client.passwordsSent, 'clear')
    const mocking = await scripted(t, okAlways)
    await rejects(connectClient({ address: mocking.address, ...options }), /a challenge has 16 hex digits/)
    deepEqual(mocking.commands, ['1: AUTH SECURE CHALLENGE'])
    await using stranger = await connectClient({ address: old.address })
    equal(stranger.passwordsSent, 'none')
  })

  test(`${name}: a refused step leaves no connection, and the error tells no password`, async t => {
    const server = await scripted(t, command => (/^SELECT|CHALLENGE$/.test(command) ? '-Access denied\r\n' : '+OK\r\n'))
    const options = { address: server.address, adminPassword: 'root', namespace: 'data', namespacePassword: 'hunter2' }
    await rejects(connectClient(options), (error: unknown) => {
      ok(error instanceof RespError)
      equal(error.message, 'Access denied')
      return !JSON.stringify(error, Object.getOwnPropertyNames(error)).includes('hunter2')
    })
    equal(server.connectionCount(), 1)
  })

  test(`${name}: a connection dropped with a SET in flight: the SET is never repeated, and nothing reconnects`, async t => {
    // With ioredis's defaults the SET came again by itself on a new connection, in namespace `default`.
    const server = await scripted(t, command => (command.startsWith('SET') ? null : '+OK\r\n'))
    const client = await connectClient({ address: server.address, namespace: 'data' })
    const lost = [client.call('SET', '', 'block 1'), client.call('SET', '', 'block 2')]
    for (const call of lost) await rejects(call, ConnectionLost)
    ok((await client.closed) instanceof Error)
    await rejects(client.call('GET', 'x'), ConnectionLost)
    await new Promise(resolve => setTimeout(resolve, 300))
    equal(server.connectionCount(), 1)
    deepEqual(server.commands, ['1: SELECT data', '1: SET  block 1'])
    await client[Symbol.asyncDispose]()
  })

  test(`${name}: replies come as they are: bulks and simple strings as bytes, errors inside arrays as values`, async t => {
    const replies: Record<string, string> = {
      A: '$3\r\n\x00\r\n\r\n',
      B: ':-3\r\n',
      C: '$-1\r\n',
      D: '*3\r\n$1\r\nx\r\n-Internal Error\r\n:1\r\n',
      E: '-COLD 7\r\n',
      READONLY: '-READONLY sync failed\r\n',
    }
    const server = await scripted(t, command => replies[command])
    await using client = await connectClient({ address: server.address })
    deepEqual(Buffer.from((await client.call('A')) as Buffer), Buffer.from('\x00\r\n'))
    equal(await client.call('B'), -3)
    equal(await client.call('C'), null)
    const array = (await client.call('D')) as unknown[]
    equal(String(array[0]), 'x')
    ok(array[1] instanceof RespError)
    equal(array[2], 1)
    await rejects(client.call('E'), { name: 'RespError', message: 'COLD 7' })
    await rejects(client.call('READONLY'), { name: 'RespError', message: 'READONLY sync failed' })
  })

  test(`${name}: an argument that is neither text nor Buffer is refused before it is sent as "1,2,3"`, async t => {
    const server = await scripted(t, okAlways)
    await using client = await connectClient({ address: server.address })
    const bytes = new Uint8Array([1, 2, 3])
    await rejects(client.call('SET', 'k', bytes as unknown as Buffer), { name: 'AssertionError' })
    deepEqual(server.commands, [])
  })

  test(`${name}: a silent server costs the connection, not only the command`, async t => {
    const server = await scripted(t, command => (command === 'SLOW' ? undefined : '+OK\r\n'))
    const client = await connectClient({ address: server.address, commandTimeoutMs: 50 })
    await rejects(client.call('SLOW'), /no reply for 50 ms/)
    await rejects(client.call('FAST'), ConnectionLost)
    equal(server.connectionCount(), 1)
  })

  test(`${name}: nobody there`, async () => {
    await using directory = await temporaryDirectory()
    await rejects(connectClient({ address: `unix:${directory.path}/none.sock` }), (error: unknown) => {
      ok(error instanceof ConnectionLost)
      return error.message.includes('ENOENT')
    })
    await rejects(connectClient({ address: 'somewhere' }), TypeError)
  })

  test(`${name}: closing rejects what is in flight, resolves closed with undefined, and may be done twice`, async t => {
    const server = await scripted(t, () => undefined)
    const client = await connectClient({ address: server.address })
    const waiting = client.call('WAIT')
    const rejected = rejects(waiting, ConnectionLost)
    await client[Symbol.asyncDispose]()
    await client[Symbol.asyncDispose]()
    await rejected
    equal(await client.closed, undefined)
  })
}

test('a reply of another shape is no position', () => {
  for (const reply of ['OK', null, 3, [1], [[Buffer.from('a'), 1]]]) {
    let failed = false
    try {
      parsePositions(reply)
    } catch (error) {
      failed = error instanceof TypeError
    }
    ok(failed)
  }
})
