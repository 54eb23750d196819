import { equal } from 'node:assert/strict'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { CachedbProcess } from './cachedb-process.ts'

test('bad input costs its own connection, never the server or another client', async t => {
  const cachedb = await CachedbProcess.start(t)
  const bystander = await cachedb.raw()
  equal(await bystander.ask('SET', 'key', 'value'), '$key')

  for (const [name, bytes, reply] of [
    ['not an array', '+1\r\n$4\r\nPING\r\n', '-Malformed request, array expected\r\n'],
    ['no arguments', '*0\r\n', '-Missing arguments\r\n'],
    ['1,025 arguments', '*1025\r\n', '-Too many arguments\r\n'],
    ['a negative count', '*-1\r\n', '-Internal memory error\r\n'],
    ['a nested array', '*1\r\n*1\r\n$4\r\nPING\r\n', '-Malformed query string\r\n'],
    ['a negative length', '*2\r\n$3\r\nGET\r\n$-5\r\n', '-Malformed query string\r\n'],
    ['an oversized bulk', '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388609\r\n', '-Payload too big\r\n'],
    ['a header without an end', `*${'9'.repeat(9000)}`, ''],
  ] as const) {
    await t.test(name, async () => {
      const client = await cachedb.raw()
      client.socket.write(bytes)
      equal(await client.untilClosed(), reply)
      equal(await bystander.ask('GET', 'key'), '$value')
    })
  }

  await t.test('an oversized bulk that is sent to its end', async () => {
    const client = await cachedb.raw()
    client.send('SET', 'k', 'x'.repeat(9_000_000))
    equal(await client.untilClosed(), '-Payload too big\r\n')
    equal(await bystander.ask('EXISTS', 'k'), ':0')
  })

  await t.test('unknown commands and wrong counts leave the connection usable', async () => {
    const client = await cachedb.raw()
    equal(await client.ask('NOPE'), '-Command not supported')
    equal(await client.ask('x'.repeat(8178)), '-Command not supported')
    equal(await client.ask(''), '-Command not supported')
    equal(await client.ask('GET'), '-Unexpected arguments')
    equal(await client.ask('GET', 'key'), '$value')
  })

  await t.test('inline commands', async () => {
    const client = await cachedb.raw()
    client.socket.write('PING\r\nGET key\r\n')
    equal(await client.reply(), '+PONG')
    equal(await client.reply(), '$value')
  })

  await t.test('a command byte by byte', async () => {
    const client = await cachedb.raw()
    for (const byte of Buffer.from('*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n')) {
      client.socket.write(Buffer.of(byte))
      await new Promise(resolve => setImmediate(resolve))
    }
    equal(await client.reply(), '$value')
  })

  await t.test('noise', async t => {
    const prng = seededPrng(t)
    for (let round = 0; round < 200; round++) {
      const client = await cachedb.raw()
      client.socket.end(
        prng.chance(0.5) ? prng.bytes(1 + prng.below(200)) : `*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$${prng.below(1e7)}\r\nx`,
      )
      await client.untilClosed()
    }
    equal(await bystander.ask('GET', 'key'), '$value')
  })
})

test('128 connections at once, and one too many', async t => {
  const cachedb = await CachedbProcess.start(t, { max_clients: 128 })
  const clients = await Promise.all(Array.from({ length: 128 }, () => cachedb.raw()))
  for (const reply of await Promise.all(clients.map(client => client.ask('PING')))) equal(reply, '+PONG')
  const refused = await cachedb.raw()
  equal(await refused.untilClosed(), '-ERR max number of clients reached\r\n')
  equal(await clients[0]!.ask('PING'), '+PONG')
})
