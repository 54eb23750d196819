import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { SocketlessServer } from './session-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const long = 'x'.repeat(511)

describe('what one turn of the loop wrote is there for what reads in it', () => {
  for (const [args, expected] of [
    [['GET', 'key'], /^\$value$/],
    [['MGET', 'key', 'none'], /^\[\$value \$-1\]$/],
    [['GETRANGE', 'key', '1', '2'], /^\$al$/],
    [['EXISTS', 'key'], /^:1$/],
    [['CHECK', 'key'], /^:1$/],
    [['LENGTH', 'key'], /^:5$/],
    [['KEYTIME', 'key'], /^:\d+$/],
    [['DBSIZE'], /^:1$/],
    [['NSINFO', 'default'], /\nentries: 1\n/],
    [['SCAN'], /\[\$key :5 :\d+\]/],
    [['SCANX'], /\[\$key :5 :\d+\]/],
    [['RSCAN'], /\[\$key :5 :\d+\]/],
    [['KSCAN', 'k'], /^\[\$0 \[\$key\]\]$/],
    [['KEYCUR', 'key'], /^\$.{17}$/s],
    [['HISTORY', 'key'], /^\[\$-1 \$\d+ \$value\]$/],
    [['DATA', 'RAW', '0', '28'], /^\[\$key .* \$value\]$/],
    [['SEGMENTS'], /^\[\[:0 \$open :54 :26 /],
  ] as const) {
    test(args.join(' '), async () => {
      await using server = await SocketlessServer.start()
      const client = server.client()
      const set = client.ask('SET', 'key', 'value')
      assert.match(await client.ask(...args), expected)
      assert.equal(await set, '$key')
    })
  }
})

test('wrong arguments, in 0-db’s words', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  await client.ask('SET', 'key', 'value')
  for (const [reply, ...args] of [
    ['-Invalid arguments', 'MGET'],
    ['-Invalid key', 'MGET', 'key', long],
    ['-Invalid key format', 'SCAN', ''],
    ['-Invalid key format', 'SCAN', 'key'],
    ['-Invalid key format', 'RSCAN', long, 'ignored'],
    ['-Unexpected arguments', 'KEYCUR'],
    ['-Unexpected arguments', 'KEYCUR', 'key', 'more'],
    ['-Invalid argument', 'KEYCUR', ''],
    ['-Key not found', 'KEYCUR', 'none'],
    ['-Key not found', 'KEYCUR', long],
    ['-Unexpected arguments', 'KSCAN'],
    ['-Unexpected arguments', 'KSCAN', 'k', 'more'],
    ['-Invalid argument', 'KSCAN', ''],
    ['-No keys match', 'KSCAN', 'none'],
    ['-No keys match', 'KSCAN', long],
    ['-Invalid arguments', 'HISTORY'],
    ['-Invalid arguments', 'HISTORY', 'key', 'x', 'y'],
    ['-Invalid arguments', 'HISTORY', 'key', ''],
    ['-Invalid arguments', 'HISTORY', 'key', 'x'],
    ['-No more history', 'HISTORY', 'key', '\0'.repeat(8)],
    ['-Invalid arguments (index query)', 'HISTORY', 'key', '\0'.repeat(7).padStart(8, '\x09')],
    ['-Key not found', 'HISTORY', ''],
    ['-Key not found', 'HISTORY', 'none'],
    ['-Key not found', 'HISTORY', long],
  ] as const) {
    assert.equal(await client.ask(...args), reply, args.join(' '))
  }
  await client.ask('NSSET', 'default', 'freeze', '1')
  const frozen = '-Namespace is temporarily frozen (read-write disabled)'
  for (const [reply, ...args] of [
    [frozen, 'MGET', 'key'],
    ['-Invalid arguments', 'MGET'],
    ['-Invalid key', 'MGET', long],
    [frozen, 'SCAN'],
    [frozen, 'RSCAN', 'x'],
    [frozen, 'KEYCUR', 'key'],
    [frozen, 'HISTORY', 'key', 'x'],
    ['-Invalid arguments', 'HISTORY'],
    ['[$0 [$key]]', 'KSCAN', 'k'],
    [':1', 'DBSIZE', 'ignored'],
  ] as const)
    assert.equal(await client.ask(...args), reply, args.join(' '))
})

test('a sequential namespace has no KSCAN, whatever its arguments', async () => {
  await using server = await SocketlessServer.start({ mode: 'sequential' })
  for (const args of [['KSCAN'], ['KSCAN', 'x'], ['KSCAN', '']])
    assert.equal(await server.client().ask(...args), "-Index running mode doesn't support this feature")
})

test('0-db’s worked example: SCAN and HISTORY', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  const at = (seconds: number) => String(1_700_000_000 + seconds)
  await client.ask('SET', 'hello', 'world', at(0))
  await client.ask('SET', 'hello', 'WORLD2', at(1))
  await client.ask('SET', 'k', '', at(2))
  await client.ask('DEL', 'hello', at(3))
  await client.ask('NSJUMP')
  await client.ask('SET', 'k', 'x', at(4))
  await client.ask('SET', 'n', 'yz', at(5))
  const scanned = await client.ask('SCAN')
  assert.match(scanned, /^\[\$.{17} \[\[\$k :1 :1700000004\] \[\$n :2 :1700000005\]\]\]$/s)
  assert.match(await client.ask('HISTORY', 'k'), /^\[\$.{8} \$1700000004 \$x\]$/s)
  const position = Buffer.from((await client.ask('HISTORY', 'k')).slice(2, 10), 'latin1')
  assert.equal(await client.ask('HISTORY', 'k', position), '[$-1 $1700000002 $]')
})

test('cursors, positions and places of random bytes: an answer or a refusal, never an Internal Error', async t => {
  const prng = seededPrng(t)
  await using server = await SocketlessServer.start()
  const client = server.client()
  for (let i = 0; i < 60; i++) {
    await client.ask('SET', `key ${i % 20}`, `value ${i}`)
    if (i % 7 === 0) await client.ask('DEL', `key ${i % 20}`)
    if (i % 15 === 0) await client.ask('NSJUMP')
  }
  await client.ask('FSYNC')
  const below = (limit: number) => prng.bytes(4).readUInt32LE(0) % limit
  const cursor = Buffer.from((await client.ask('KEYCUR', 'key 11')).slice(1), 'latin1')
  const older = Buffer.from((await client.ask('HISTORY', 'key 11')).slice(2, 10), 'latin1')
  const answers = new Map<string, number>()
  for (let i = 0; i < 700; i++) {
    const near = Buffer.from(cursor)
    near[below(17)] = below(256)
    const place = Buffer.from(older)
    if (below(3) > 0) place[below(8)] = below(256)
    const bytes = [near, place, prng.bytes(below(20)), Buffer.alloc(17, below(3))][below(4)]!
    for (const args of [
      ['SCAN', bytes],
      ['RSCAN', bytes],
      ['HISTORY', 'key 11', bytes],
      ['DATA', 'RAW', String(place.readUInt32LE(0)), String(place.readUInt32LE(4))],
      ['GETRANGE', 'key 11', String(below(12)), String(below(12))],
      ['KEYCUR', bytes],
      ['KSCAN', bytes],
    ]) {
      const reply = await client.ask(...args)
      if (reply === '-Unexpected Internal Error') continue
      assert.notEqual(reply, '-Internal Error', args.map(String).join(' '))
      const kind = `${args[0]} ${reply[0]}`
      answers.set(kind, (answers.get(kind) ?? 0) + 1)
    }
  }
  // Both kinds were met: what is near is sometimes right.
  for (const kind of ['SCAN [', 'SCAN -', 'HISTORY [', 'HISTORY -', 'DATA [', 'DATA -'])
    assert(answers.has(kind), `${kind}: ${[...answers].join(' ')}`)
})

test('a read that fails counts against the namespace it was sent to', async () => {
  const storage = new SimulatedStorage()
  const { promise: answered, reject } = Promise.withResolvers<never>()
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async () => '00112233445566778899aabbccddeeff',
    segmentMissing: () => answered,
  }
  {
    await using server = await SocketlessServer.start({ storage, hooks })
    await server.client().ask('SET', 'cold', 'value')
    await server.client().ask('NSJUMP')
    await server.pass(1_000)
  }
  storage.remove('/data/default/d0')
  await using server = await SocketlessServer.start({ storage, hooks })
  const client = server.client()
  await client.ask('NSNEW', 'other')
  const reading = client.ask('GET', 'cold')
  assert.equal(await client.ask('SELECT', 'other'), '+OK')
  await server.pass(1_000)
  reject(new HookFailed('no backend answers'))
  assert.match(await reading, /^-IOERR /)
  for (const [name, errors] of Object.entries({ default: 1, other: 0 }))
    assert.match(await client.ask('NSINFO', name), new RegExp(`stats_data_io_errors: ${errors}\n`), name)
})

test('what a hook printed is told to admins only', async () => {
  const storage = new SimulatedStorage()
  let isBroken = false
  const fail = async () => {
    throw new HookFailed('exited with 1: no way to https://user:hunter2@store')
  }
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async () => (isBroken ? fail() : '00112233445566778899aabbccddeeff'),
    segmentMissing: fail,
  }
  {
    await using server = await SocketlessServer.start({ storage, hooks })
    await server.client().ask('SET', 'cold', 'value')
    await server.client().ask('NSJUMP')
    await server.pass(1_000)
  }
  storage.remove('/data/default/d0')
  isBroken = true
  await using server = await SocketlessServer.start({ storage, hooks, adminPassword: 'root' })
  const [stranger, admin] = [server.client(), server.client()]
  await admin.ask('AUTH', 'root')
  await admin.ask('SET', 'new', 'value')
  await admin.ask('NSJUMP')
  await server.pass(1_000)
  const reasons = async (client: typeof stranger) => [
    await client.ask('HISTORY', 'cold'),
    await client.ask('MGET', 'cold'),
    await client.ask('SEGMENTS'),
  ]
  for (const reply of await reasons(admin)) assert.match(reply, /hunter2/)
  for (const reply of await reasons(stranger)) assert.doesNotMatch(reply, /hunter2|exited/)
  assert.match(await stranger.ask('GET', 'cold'), /^-IOERR .*ask again later/)
  assert.match(await stranger.ask('MGET', 'cold'), /^\[-IOERR .*ask again later/)
})
