import { equal, match } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { type SocketlessClient, SocketlessServer } from './session-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

// 0-db's specification, sections 4.2, 4.3 and 5.5, line by line: each check in its order, the earlier one first.

const answerTo = (challenge: string, password: string) =>
  createHash('sha1')
    .update(`${challenge.slice(1)}:${password}`, 'latin1')
    .digest('hex')
const askChallenge = (client: SocketlessClient) => client.ask('AUTH', 'SECURE', 'CHALLENGE')
const noChallenge = '-No CHALLENGE requested, secure authentication not available'
const long = (bytes: number) => 'x'.repeat(bytes)

test('AUTH without an admin password: everybody is admin', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  equal(await client.ask('AUTH', ''), '-Authentication disabled')
  equal(await client.ask('AUTH', 'root'), '-Authentication disabled')
  match(await askChallenge(client), /^\+[0-9a-f]{16}$/, 'a SELECT may need one')
  equal(await client.ask('AUTH', 'SECURE', long(40)), '-Authentication disabled')
  equal(await client.ask('NSNEW', 'a'), '+OK')
})

test('AUTH: the order of its checks, and what consumes a challenge', async () => {
  await using server = await SocketlessServer.start({ adminPassword: 'r\xf6\xf6t' })
  const client = server.client()
  for (const args of [[], ['a', 'b', 'c'], ['', '', '']])
    equal(await client.ask('AUTH', ...args), '-Unexpected arguments')
  equal(await client.ask('AUTH', ''), '-Invalid argument')
  equal(await client.ask('AUTH', long(129)), '-Password too long')
  equal(await client.ask('AUTH', long(128)), '-Access denied')
  equal(await client.ask('AUTH', 'SECURE', ''), '-Invalid argument')
  equal(await client.ask('AUTH', '', 'CHALLENGE'), '-Invalid argument')
  equal(await client.ask('AUTH', 'OTHER', 'CHALLENGE'), '-Only SECURE extra method supported')
  equal(await client.ask('AUTH', 'SECURE', long(40)), noChallenge)
  const first = await client.ask('auth', 'secure', 'challenge')
  equal(await client.ask('AUTH', 'SECURE', long(39)), '-Invalid hash length')
  const second = await askChallenge(client)
  equal(first === second, false)
  equal(await client.ask('AUTH', 'SECURE', answerTo(first, 'r\xf6\xf6t')), '-Access denied', 'the newest counts')
  equal(await client.ask('AUTH', 'SECURE', answerTo(second, 'r\xf6\xf6t')), noChallenge, 'a wrong answer consumes it')
  const third = answerTo(await askChallenge(client), 'r\xf6\xf6t')
  equal(await client.ask('AUTH', 'SECURE', third.toUpperCase()), '-Access denied', 'lower case')
  const right = answerTo(await askChallenge(client), 'r\xf6\xf6t')
  equal(await client.ask('AUTH', 'SECURE', right), '+OK')
  equal(await client.ask('AUTH', 'SECURE', right), noChallenge, 'and so does a right one')
  equal(await client.ask('AUTH', 'wrong'), '-Access denied')
  equal(await client.ask('NSNEW', 'still-admin'), '+OK')
  equal(await server.client().ask('AUTH', Buffer.from('r\xf6\xf6t', 'latin1')), '+OK', 'passwords are bytes')
  equal(await server.client().ask('AUTH', 'r\xf6\xf6t'), '-Access denied', 'not characters')
})

test('SELECT: the order of its checks; it consumes no challenge', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  for (const name of ['open', 'private', 'public']) equal(await client.ask('NSNEW', name), '+OK')
  for (const name of ['private', 'public']) equal(await client.ask('NSSET', name, 'password', 'pass'), '+OK')
  equal(await client.ask('NSSET', 'private', 'public', '0'), '+OK')
  equal(await client.ask('NSSET', 'open', 'public', '0'), '+OK')

  equal(await client.ask('SELECT'), '-Invalid argument')
  equal(await client.ask('SELECT', long(129)), '-Namespace too long')
  equal(await client.ask('SELECT', long(128)), '-Namespace not found')
  equal(await client.ask('SELECT', ''), '-Namespace not found')
  equal(await client.ask('SELECT', 'open', 'a', 'b', 'c', 'd', 'e'), '+OK', 'without a password, public or not')
  equal(await client.ask('SET', 'a', 'b'), '$a')
  equal(await client.ask('SELECT', 'private'), '-Namespace protected and private')
  equal(await client.ask('GET', 'a'), '$b', 'a refused SELECT changes nothing')
  equal(await client.ask('SELECT', 'private', 'a', 'b', 'c'), '-Too many arguments')
  equal(await client.ask('SELECT', 'private', long(256)), '-Password too long')
  equal(await client.ask('SELECT', 'private', long(255)), '-Access denied')
  equal(await client.ask('SELECT', 'private', ''), '-Access denied')
  equal(await client.ask('SELECT', 'private', 'OTHER', 'x'), '-Only SECURE extra method supported')
  equal(await client.ask('SELECT', 'private', 'SECURE', 'x'), noChallenge)
  const right = answerTo(await askChallenge(client), 'pass')
  equal(await client.ask('SELECT', 'private', 'SECURE', 'x'), '-Invalid hash length')
  equal(await client.ask('SELECT', 'private', 'SECURE', long(40)), '-Access denied')
  for (let round = 0; round < 2; round++) equal(await client.ask('SELECT', 'private', 'secure', right), '+OK')
  equal(await client.ask('SET', 'a', 'b'), '$a')
  equal(await client.ask('SELECT', 'public'), '+OK')
  equal(await client.ask('SET', 'a', 'b'), '-Namespace is in read-only mode')
  equal(await client.ask('SELECT', 'public', 'pass'), '+OK')
  equal(await client.ask('SET', 'a', 'b'), '$a')
  equal(await client.ask('NSSET', 'public', 'freeze', '1'), '+OK')
  equal(await client.ask('SELECT', 'public', 'pass'), '+OK', 'a frozen one, the current one')
})

test('NSNEW, NSDEL, NSLIST: names, their order, and a disk that refuses', async () => {
  const storage = new SimulatedStorage()
  await using server = await SocketlessServer.start({ storage })
  const client = server.client()
  equal(await client.ask('NSNEW', ''), '-Invalid argument')
  equal(await client.ask('NSNEW', long(129)), '-Namespace too long')
  for (const name of ['a', 'b', 'c', 'd', long(128)]) equal(await client.ask('NSNEW', name), '+OK')
  equal(await client.ask('NSNEW', 'a'), '-This namespace is not available')
  equal(await client.ask('NSDEL', long(129)), '-Namespace too long')
  equal(await client.ask('NSDEL', 'nowhere'), "-This namespace doesn't exists")
  equal(await client.ask('NSDEL', long(128)), '+OK')
  for (const name of ['b', 'd']) equal(await client.ask('NSDEL', name), '+OK')
  equal(await client.ask('NSLIST', 'arguments', 'ignored'), '[$default $a $c]')
  for (const name of ['e', 'f', 'g', 'h']) equal(await client.ask('NSNEW', name), '+OK')
  equal(await client.ask('NSLIST'), '[$default $a $e $c $f $g $h]', 'freed slots first, in their order')
  storage.capacityBytes = 0
  equal(await client.ask('NSNEW', 'full'), '-Could not create namespace')
  storage.capacityBytes = Number.POSITIVE_INFINITY
  equal(await client.ask('NSNEW', 'full'), '+OK')
  equal(await client.ask('NSLIST'), '[$default $a $e $c $f $g $h $full]')
})

test('NSSET: the order of its checks, and each property', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  const set = (...args: string[]) => client.ask('NSSET', ...args)
  const info = () => client.ask('NSINFO', 'ns')
  equal(await client.ask('NSNEW', 'ns'), '+OK')
  equal(await set('ns', 'worm'), '-Unexpected arguments')
  equal(await set('ns', 'worm', ''), '-Invalid argument')
  equal(await set(long(129), long(257), '1'), '-Namespace too long')
  equal(await set('nowhere', long(257), '1'), '-Argument too long')
  equal(await set('nowhere', 'worm', long(64)), '-Argument too long')
  equal(await set('nowhere', long(256), long(63)), '-Namespace not found')
  equal(await set('ns', 'WORM', '1'), '-Invalid property')
  for (const property of ['maxsize', 'password', 'public', 'worm', 'nonsense', 'LOCK'])
    equal(await set('default', property, '1'), '-Cannot update default namespace')
  for (const property of ['lock', 'freeze']) {
    equal(await set('default', property, '1'), '+OK')
    equal(await set('default', property, '0'), '+OK')
  }

  for (const [value, bytes] of [
    ['4096', 4096],
    ['12abc', 12],
    ['abc', 0],
    [' +7', 7],
    ['-5', 0],
  ] as const) {
    equal(await set('ns', 'maxsize', value), '+OK')
    match(await info(), new RegExp(`\ndata_limits_bytes: ${bytes}\n`))
  }
  equal(await set('ns', 'password', long(63)), '+OK')
  match(await info(), /\npassword: yes\n/)
  equal(await set('ns', 'password', '*'), '+OK')
  match(await info(), /\npassword: no\n/)
  for (const property of ['public', 'worm']) {
    for (const [value, shown] of [
      ['0', 'no'],
      ['1', 'yes'],
      ['yes', 'no'],
      ['10', 'yes'],
      ['true', 'no'],
    ] as const) {
      equal(await set('ns', property, value), '+OK')
      match(await info(), new RegExp(`\n${property}: ${shown}\n`))
    }
  }
  equal(await set('ns', 'lock', '1'), '+OK')
  equal(await set('ns', 'freeze', '1'), '+OK')
  match(await info(), /\nlocked: yes\n/)
  equal(await set('ns', 'lock', 'no'), '+OK', 'one choice of three: this ends the freeze too')
  match(await info(), /\nlocked: no\n/)

  equal(await set('ns', 'mode', 'nonsense'), '-Invalid property value (expected: user, seq)')
  equal(await set('ns', 'mode', 'SEQ'), '-Invalid property value (expected: user, seq)')
  equal(await set('ns', 'mode', 'seq'), '+OK')
  equal(await set('default', 'mode', 'seq'), '+OK', 'default too, while it is fresh')
  equal(await client.ask('SET', '', 'x'), `$${'\0'.repeat(8)}`)
  equal(await set('default', 'mode', 'nonsense'), '-Cannot change mode of used namespace')
  await using single = await SocketlessServer.start({ mode: 'user' })
  equal(
    await single.client().ask('NSSET', 'default', 'mode', 'nonsense'),
    '-This server instance is configured to use a single runtime mode',
  )
})

test('what a frozen namespace still answers', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  equal(await client.ask('SET', 'a', 'b'), '$a')
  equal(await client.ask('NSSET', 'default', 'freeze', '1'), '+OK')
  equal(await client.ask('PING', 'ignored'), '+PONG')
  match(await client.ask('TIME', 'ignored'), /^\[\$\d{10} \$\d{1,6}\]$/)
  equal(await client.ask('DBSIZE', 'ignored'), ':1')
  equal(await client.ask('NSJUMP', 'ignored'), '+OK')
  equal(await client.ask('SELECT', 'default'), '+OK')
  equal(await client.ask('GET', 'a'), '-Namespace is temporarily frozen (read-write disabled)')
  equal(await client.ask('SET', 'a', 'b'), '-Namespace is temporarily frozen (read-write disabled)')
})

test('STOP: only where it is allowed, and only for admins', async () => {
  let stopped = 0
  await using server = await SocketlessServer.start({ adminPassword: 'root', stop: () => void stopped++ })
  const client = server.client()
  equal(await client.ask('STOP'), '-Permission denied')
  equal(await client.ask('AUTH', 'root'), '+OK')
  equal(await client.ask('STOP', 'ignored'), '+Stopping')
  equal(stopped, 0, 'after the reply has left')
  await server.clock.advance(1_000)
  equal(stopped, 1)
  await using other = await SocketlessServer.start()
  equal(await other.client().ask('STOP'), '-Unauthorized')
})

test('FLUSH: who may', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  equal(await client.ask('FLUSH', 'ignored'), '-Flushing public namespace denied')
  equal(await client.ask('NSNEW', 'ns'), '+OK')
  equal(await client.ask('NSSET', 'ns', 'password', 'pass'), '+OK')
  equal(await client.ask('SELECT', 'ns'), '+OK')
  equal(await client.ask('FLUSH'), '-Namespace is in read-only mode')
  equal(await client.ask('SELECT', 'ns', 'pass'), '+OK')
  equal(await client.ask('FLUSH'), '-Flushing public namespace denied')
  equal(await client.ask('NSSET', 'ns', 'public', '0'), '+OK')
  equal(await client.ask('SET', 'a', 'b'), '$a')
  equal(await client.ask('NSSET', 'ns', 'worm', '1'), '+OK')
  equal(await client.ask('FLUSH'), '-Cannot delete a key when namespace is in worm mode')
  equal(await client.ask('NSSET', 'ns', 'worm', '0'), '+OK')
  equal(await client.ask('FLUSH'), '+OK')
  equal(await client.ask('DBSIZE'), ':0')
})
