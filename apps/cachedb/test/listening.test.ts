import { deepEqual, equal } from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { CachedbProcess } from './cachedb-process.ts'
import { SocketlessServer } from './session-fixture.ts'

// 0-db's specification, section 5.5: WAIT, MIRROR, MASTER, `*`.

test('WAIT: what it takes', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  equal(await client.ask('WAIT'), '-Invalid arguments')
  equal(await client.ask('WAIT', 'SET', '100', 'x'), '-Invalid arguments')
  equal(await client.ask('WAIT', 'BIPBIP'), '-Unknown command to watch')
  equal(await client.ask('WAIT', ''), '-Unknown command to watch')
  equal(await client.ask('WAIT', 'SE'), '-Unknown command to watch', 'no prefixes here either')
  for (const timeout of ['99', '1800001', 'soon', '', '-500', `${'0'.repeat(14)}100`])
    equal(await client.ask('WAIT', 'SET', timeout), '-Invalid timeout', timeout)
  equal(client.session.listening, false)
  equal(await client.ask('wait', 'set', '0000000000000100'), '')
  equal(client.session.listening, true)
  await server.clock.advance(99)
  deepEqual(client.pushed, [])
  await server.clock.advance(1)
  deepEqual(client.pushed, ['-Timeout'])
  equal(client.session.listening, false)
  await client.ask('WAIT', 'SET')
  await server.clock.advance(4_999)
  equal(client.pushed.length, 1)
  await server.clock.advance(1)
  equal(client.pushed.length, 2, '5 s are the default')
  equal(await client.ask('*'), '-This is not a valid command')
  equal(server.state.audience.isListening, false)
})

test('WAIT: what ends it', async () => {
  await using server = await SocketlessServer.start()
  const [waiting, other, elsewhere] = [server.client(), server.client(), server.client()]
  equal(await other.ask('NSNEW', 'ns'), '+OK')
  equal(await elsewhere.ask('SELECT', 'ns'), '+OK')
  const heard = async (...args: string[]) => {
    waiting.pushed.length = 0
    equal(await waiting.ask(...args), '')
    return waiting.pushed
  }
  const set = await heard('WAIT', 'SET')
  await waiting.ask('SET', 'own', 'command')
  await elsewhere.ask('SET', 'other', 'namespace')
  await other.ask('SETX', 'another', 'command')
  await other.ask('BIPBIP')
  deepEqual(set, [])
  await other.ask('SET', 'a', 'b')
  deepEqual(set, ['+SET'])
  await other.ask('SET', 'a', 'c')
  deepEqual(set, ['+SET'], 'once')

  const failing = await heard('WAIT', 'GET')
  equal(await other.ask('GET'), '-Unexpected arguments')
  deepEqual(failing, ['+GET'])

  const any = await heard('WAIT', '*')
  await other.ask('BIPBIP')
  deepEqual(any, [])
  equal(await waiting.ask('PING'), '+PONG', 'the connection goes on')
  await other.ask('ping')
  deepEqual(any, ['+PING'])

  await heard('WAIT', 'DEL')
  const replaced = await heard('WAIT', 'PING')
  await other.ask('DEL', 'a')
  deepEqual(replaced, [], 'the second one takes the place of the first')
  await other.ask('PING')
  deepEqual(replaced, ['+PING'])

  const moved = await heard('WAIT', 'PING')
  await waiting.ask('SELECT', 'ns')
  await other.ask('PING')
  deepEqual(moved, [], 'the namespace is the one selected now')
  const arriving = await heard('WAIT', 'SELECT')
  await other.ask('SELECT', 'ns')
  deepEqual(arriving, ['+SELECT'], 'the namespace after the command')

  await other.ask('SELECT', 'default')
  const dropped = await heard('WAIT', '*')
  equal(await other.ask('NSDEL', 'ns'), '+OK')
  deepEqual(dropped, ['-Your active namespace is not available anymore (probably removed).'])

  const gone = server.client()
  await gone.ask('WAIT', '*')
  gone.session.close()
  await other.ask('PING')
  deepEqual(gone.pushed, [])
  equal(server.state.audience.isListening, false)
  equal(server.clock.pendingCount, 0, 'no timer is left')
})

test('MIRROR hears of every command of the others, but of no password', async () => {
  await using server = await SocketlessServer.start({ adminPassword: 'root' })
  const [mirror, other, admin] = [server.client(), server.client(), server.client()]
  equal(await mirror.ask('MIRROR'), '-Permission denied')
  equal(await mirror.ask('AUTH', 'root'), '+OK')
  equal(await mirror.ask('MIRROR', 'arguments', 'ignored'), '+Starting mirroring')
  equal(mirror.session.listening, true)
  const seconds = Math.floor(server.clock.nowMs() / 1000)
  const told = async () => {
    const records = mirror.pushed.splice(0)
    return records.map(record => record.replace(`[:${seconds} `, '['))
  }
  await mirror.ask('SET', 'own', 'x')
  await other.ask('set', 'key', 'value')
  await other.ask('GET')
  await other.ask('BIPBIP')
  await other.ask('AUTH', 'wrong')
  await admin.ask('AUTH', 'SECURE', 'CHALLENGE')
  await admin.ask('AUTH', 'root')
  deepEqual(await told(), [
    '[$default :0 $set $key $value]',
    '[$default :0 $GET]',
    '[$default :0 $AUTH $(secret)]',
    '[$default :0 $AUTH $(secret) $(secret)]',
    '[$default :0 $AUTH $(secret)]',
  ])
  await admin.ask('NSNEW', 'ns')
  await admin.ask('NSSET', 'ns', 'password', 'pass')
  await other.ask('SELECT', 'ns', 'pass')
  await other.ask('SET', 'key', 'elsewhere')
  deepEqual(await told(), [
    '[$default :0 $NSNEW $ns]',
    '[$default :0 $NSSET $ns $password $pass]',
    '[$ns :0 $SELECT $ns $(secret)]',
    '[$ns :0 $SET $key $elsewhere]',
  ])
  await mirror.ask('WAIT', 'PING')
  await admin.ask('PING')
  deepEqual(mirror.pushed.splice(0), [`[:${seconds} $default :0 $PING]`], 'a mirror that waits is told once')
  await server.clock.advance(5_000)
  deepEqual(mirror.pushed.splice(0), ['-Timeout'])
  mirror.session.close()
  equal(server.state.audience.isListening, false)
})

test('a command is heard of in the namespace it ran in, whatever its connection selects meanwhile', async () => {
  await using server = await SocketlessServer.start()
  const [mirror, waiting, other] = [server.client(), server.client(), server.client()]
  equal(await other.ask('NSNEW', 'ns'), '+OK')
  await mirror.ask('MIRROR')
  await waiting.ask('WAIT', 'FSYNC')
  const syncing = other.ask('FSYNC')
  equal(await other.ask('SELECT', 'ns'), '+OK')
  await syncing
  deepEqual(
    mirror.pushed.slice(1).map(record => record.replace(/^\[:\d+ /, '[')),
    ['[$ns :0 $SELECT $ns]', '[$default :0 $FSYNC]'],
  )
  deepEqual(waiting.pushed, ['+FSYNC'])
})

test('MASTER: requests end with an owner id', async () => {
  await using server = await SocketlessServer.start({ adminPassword: 'root' })
  const [master, mirror] = [server.client(), server.client()]
  equal(await master.ask('MASTER'), '-Permission denied')
  await master.ask('AUTH', 'root')
  await mirror.ask('AUTH', 'root')
  await mirror.ask('MIRROR')
  await master.ask('NSNEW', 'ns')
  await master.ask('NSSET', 'ns', 'password', 'pass')
  equal((await master.ask('NSINFO', 'ns')).includes('password_raw'), false)
  equal(await master.ask('MASTER'), '+Hello, master')
  mirror.pushed.length = 0
  equal(await master.ask('SET', 'key', 'value', '7'), '$key')
  equal(await master.ask('PING', 'no number'), '+PONG')
  deepEqual(
    mirror.pushed.map(record => record.replace(/^\[:\d+ /, '[')),
    ['[$default :7 $SET $key $value]', '[$default :0 $PING]'],
  )
  equal((await master.ask('NSINFO', 'ns', '7')).includes('\npassword_raw: pass\n'), true)
  equal((await master.ask('NSINFO', 'default', '7')).includes('password_raw'), false)
  equal(await master.ask('PING'), '-Missing arguments')
  equal(await master.ask('PING', '1'.repeat(33)), '-Invalid argument')
  equal(await master.ask('PING', '1'.repeat(32)), '+PONG')
})

test('two clients on real sockets: WAIT does not hold up its connection, MIRROR follows', async t => {
  const cachedb = await CachedbProcess.start(t)
  const [waiting, other] = [await cachedb.raw(), await cachedb.raw()]
  waiting.send('WAIT', 'SET', '20000')
  waiting.send('PING')
  equal(await waiting.reply(), '+PONG')
  const large = 'x'.repeat(100_000)
  equal(await other.ask('SET', 'key', large), '$key')
  equal(await waiting.reply(), '+SET')
  equal(await waiting.ask('WAIT', 'PING', '100'), '-Timeout')
  equal(await waiting.ask('MIRROR'), '+Starting mirroring')
  other.send('SET', 'key', `${large}y`)
  other.send('GET', 'key')
  equal((await waiting.reply()).replace(/^\[:\d+ /, '['), `[$default :0 $SET $key $${large}y]`)
  equal((await waiting.reply()).replace(/^\[:\d+ /, '['), '[$default :0 $GET $key]')
  equal(await waiting.ask('PING'), '+PONG')
})

test('protected mode: default is written only after SELECT with the admin password', async t => {
  await using server = await SocketlessServer.start({ adminPassword: 'root', isProtected: true })
  const client = server.client()
  const readOnly = '-Namespace is in read-only mode'
  equal(await client.ask('SET', 'a', 'b'), readOnly)
  equal(await client.ask('GET', 'a'), '$-1')
  equal(await client.ask('AUTH', 'root'), '+OK')
  equal(await client.ask('SET', 'a', 'b'), readOnly, 'AUTH alone does not do')
  equal(await client.ask('SELECT', 'default'), '+OK')
  equal(await client.ask('DEL', 'a'), readOnly)
  equal(await client.ask('SELECT', 'default', 'wrong'), '-Access denied')
  equal(await client.ask('FSYNC', 'default'), '-Access denied')
  equal(await client.ask('SELECT', 'default', 'root'), '+OK')
  equal(await client.ask('SET', 'a', 'b'), '$a')
  equal(await server.client().ask('GET', 'a'), '$b')
  equal(/\npassword: yes\n/.test(await client.ask('NSINFO', 'default')), true)
  equal(await client.ask('NSSET', 'default', 'mode', 'user'), '-Cannot change mode of used namespace')
  equal(server.state.namespaces.default.namespace.storedSettings.password, '', 'never written to the disk')

  await t.test('by the config', async t => {
    const directory = await temporaryDirectory()
    t.after(() => directory[Symbol.asyncDispose]())
    const passwordFile = join(directory.path, 'password')
    writeFileSync(passwordFile, 'root\n')
    const cachedb = await CachedbProcess.start(t, {
      admin_password_file: passwordFile,
      protect: true,
      default_maxsize: 10,
    })
    const raw = await cachedb.raw()
    equal(await raw.ask('SET', 'a', 'b'), readOnly)
    equal(await raw.ask('SELECT', 'default', 'root'), '+OK')
    equal(await raw.ask('SET', 'a', 'x'.repeat(11)), '-No space left on this namespace')
    equal(await raw.ask('SET', 'a', 'x'.repeat(10)), '$a')
    equal(/\ndata_limits_bytes: 10\n/.test(await raw.ask('NSINFO', 'default')), true)
  })
})
