import { equal, match, ok } from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { CachedbProcess, request } from './cachedb-process.ts'

test('clients of other makes, and of all manners', async t => {
  const cachedb = await CachedbProcess.start(t)
  const redisCli = (args: readonly string[], input?: Buffer | string) =>
    execFileSync('redis-cli', ['-s', cachedb.socketPath, ...args], {
      input,
      maxBuffer: 16 * 1024 * 1024,
      stdio: 'pipe',
    })

  await t.test('redis-cli: one command, a script, binary values', () => {
    equal(String(redisCli(['SET', 'hello', 'world'])), 'hello\n')
    equal(String(redisCli(['--no-raw', 'GET', 'hello'])), '"world"\n')
    const script = 'SET a 1\nGET a\nNOSUCH\nGET "a"\nDEL a\nEXISTS a\nPING\nquit\n'
    equal(String(redisCli(['--no-raw'], script)).replace(/^\n/gm, ''), scriptReplies)
    const value = randomBytes(3_000_000)
    equal(String(redisCli(['-x', 'SET', 'binary'], value)), 'binary\n')
    ok(Buffer.concat([value, Buffer.from('\n')]).equals(redisCli(['--raw', 'GET', 'binary'])))
    equal(String(redisCli(['-r', '3', 'PING'])), 'PONG\n'.repeat(3))
  })

  /** What it says, though it exits 1 when a reply was an error. */
  const piped = (input: Buffer) =>
    spawnSync('redis-cli', ['-s', cachedb.socketPath, '--pipe', '--pipe-timeout', '10'], { input, encoding: 'utf8' })
      .stdout

  await t.test('redis-cli asks for RESP3 and gets RESP2', () => {
    equal(
      String(redisCli(['-3', 'PING']))
        .trim()
        .split('\n')
        .at(-1),
      'PONG',
    )
  })

  await t.test('redis-cli --pipe: arrays, inline commands, errors', () => {
    const input = Buffer.concat([request(['SET', 'piped', 'x']), Buffer.from('SET inline 1\r\nNOSUCH\r\n')])
    match(piped(input), /errors: 1, replies: 3\n$/)
    match(piped(request(['GET', 'piped'])), /errors: 0, replies: 1\n$/)
  })

  await t.test('ECHO: each its own bytes, though memory of arguments is used again', async () => {
    const client = await cachedb.raw()
    const values = Array.from({ length: 50 }, (_, index) => String.fromCharCode(65 + index).repeat(5000))
    client.socket.write(Buffer.concat(values.map(value => request(['ECHO', value]))))
    for (const value of values) equal(await client.reply(), `$${value}`)
  })

  await t.test('a stream that is cut at any byte', async () => {
    const client = await cachedb.raw()
    const commands = [['SET', 'k', 'a\r\n$1\r\nb'], ['GET', 'k'], ['PING'], ['GET', ''], ['MGET', 'k', 'none']]
    const stream = Buffer.concat([...commands.map(request), Buffer.from('PING\r\nget k\n')])
    const replies = ['+PONG', '-Invalid argument', '[$a\r\n$1\r\nb $-1]', '+PONG', '$a\r\n$1\r\nb']
    for (let cut = 1; cut < stream.length; cut++) {
      client.socket.write(stream.subarray(0, cut))
      await new Promise(resolve => setImmediate(resolve))
      client.socket.write(stream.subarray(cut))
      // The first SET changes something, the others answer nil.
      equal(await client.reply(), cut === 1 ? '$k' : '$-1', `cut at ${cut}`)
      equal(await client.reply(), '$a\r\n$1\r\nb')
      for (const reply of replies) equal(await client.reply(), reply, `cut at ${cut}`)
    }
  })

  await t.test('20,000 commands in flight', async () => {
    await using client = await cachedb.client()
    const count = 10_000
    const keys = Array.from({ length: count }, (_, index) => `deep ${index}`)
    const sets = keys.map(key => client.call('SET', key, key))
    const gets = keys.map(key => client.call('GET', key))
    for (const [index, reply] of (await Promise.all(gets)).entries()) equal(String(reply), keys[index])
    for (const [index, reply] of (await Promise.all(sets)).entries()) equal(String(reply), keys[index])
  })
})

const scriptReplies = `"a"
"1"
(error) Command not supported
"1"
OK
(integer) 0
PONG
`

test('a client that asks for half a gigabyte and reads nothing costs what its limits say', async t => {
  const cachedb = await CachedbProcess.start(t, { value_cache_bytes: 0 })
  const writer = await cachedb.raw()
  const value = randomBytes(8 * 1024 * 1024)
  const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
  for (const key of keys) equal(await writer.ask('SET', key, value), `$${key}`)
  const beforeMiB = residentMiB(cachedb.process.pid)
  const greedy = connect(cachedb.socketPath)
  t.after(() => greedy.destroy())
  await once(greedy, 'connect')
  for (let round = 0; round < 8; round++) greedy.write(request(['MGET', ...keys]))
  for (let round = 0; round < 50; round++) equal(await writer.ask('GET', 'none'), '$-1')
  // 8 replies are 448 MiB.
  const grownMiB = residentMiB(cachedb.process.pid) - beforeMiB
  ok(grownMiB < 200, `${grownMiB} MiB more`)
  const expectedBytes = 8 * ('*7\r\n'.length + 7 * ('$8388608\r\n\r\n'.length + value.length))
  greedy.on('data', () => undefined)
  while (greedy.bytesRead < expectedBytes) await once(greedy, 'data')
  equal(greedy.bytesRead, expectedBytes)
})

test('an idle client is dropped with a line in the log, one that speaks or listens is not', async t => {
  const cachedb = await CachedbProcess.start(t, { idle_timeout: '1s' })
  const [idle, speaking, mirror] = [await cachedb.raw(), await cachedb.raw(), await cachedb.raw()]
  equal(await mirror.ask('MIRROR'), '+Starting mirroring')
  let isOpen = true
  idle.socket.once('close', () => {
    isOpen = false
  })
  equal(await idle.ask('PING'), '+PONG')
  while (isOpen) {
    equal(await speaking.ask('PING'), '+PONG')
    await setTimeout(100)
  }
  const [line] = await cachedb.process.waitForLine(/.*"client\.dropped".*/)
  equal(JSON.parse(line).reason, 'it was idle for 1000 ms')
  equal(await speaking.ask('PING'), '+PONG')
  ok(!mirror.socket.destroyed)
})

function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
}
