import { equal, match } from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { CachedbProcess, type RawClient } from './cachedb-process.ts'

// 0-db's specification, sections 4.3 and 9.2 "namespaces", "password", "NSSET errors", "quota", "NSDEL".

const challengeAnswer = async (client: RawClient, password: string) => {
  const challenge = (await client.ask('AUTH', 'SECURE', 'CHALLENGE')).slice(1)
  match(challenge, /^[0-9a-f]{16}$/)
  return createHash('sha1').update(`${challenge}:${password}`).digest('hex')
}

test('namespaces of one cachedb', async t => {
  const cachedb = await CachedbProcess.start(t)
  const client = await cachedb.raw()
  const ask = client.ask.bind(client)

  await t.test('create and select', async () => {
    equal(await ask('SELECT', 'notfound'), '-Namespace not found')
    equal(await ask('SELECT', ''), '-Namespace not found')
    equal(await ask('SELECT'), '-Invalid argument')
    equal(await ask('NSNEW', 'first'), '+OK')
    equal(await ask('NSNEW', 'first'), '-This namespace is not available')
    equal(await ask('NSNEW', 'x'.repeat(511)), '-Namespace too long')
    equal(await ask('NSNEW'), '-Unexpected arguments')
    for (const name of ['../../hello', '.', '..', 'default', '.hidden', 'a/b', 'nul\0', Buffer.of(0xff)]) {
      equal(await ask('NSNEW', name), '-This name is not allowed')
    }
    equal(await ask('SELECT', 'first', 'ignored', 'arguments'), '+OK')
    equal(await ask('SET', 'here', 'only'), '$here')
    equal(await ask('GET', 'here'), '$only')
    equal(await ask('SELECT', 'default'), '+OK')
    equal(await ask('GET', 'here'), '$-1')
    equal(await ask('NSNEW', 'with space'), '+OK')
    equal(await ask('NSLIST'), '[$default $first $with space]')
  })

  await t.test('passwords', async () => {
    equal(await ask('NSNEW', 'protected'), '+OK')
    equal(await ask('NSSET', 'protected', 'password', 'helloworld'), '+OK')
    equal(await ask('NSSET', 'protected', 'public', '0'), '+OK')
    equal(await ask('SELECT', 'protected'), '-Namespace protected and private')
    for (const wrong of ['wrong', 'hello', 'helloworldx'])
      equal(await ask('SELECT', 'protected', wrong), '-Access denied')
    equal(await ask('SELECT', 'protected', 'x'.repeat(511)), '-Password too long')
    equal(await ask('SELECT', 'protected', 'helloworld'), '+OK')
    equal(await ask('SELECT', 'default'), '+OK')
    const none = '-No CHALLENGE requested, secure authentication not available'
    equal(await ask('SELECT', 'protected', 'SECURE', 'abcdef'), none)
    await challengeAnswer(client, 'helloworld')
    equal(await ask('SELECT', 'protected', 'SECURE', 'abcdef'), '-Invalid hash length')
    equal(await ask('SELECT', 'protected', 'SECURE', '0'.repeat(40)), '-Access denied')
    equal(await ask('SELECT', 'protected', 'OTHER', '0'.repeat(40)), '-Only SECURE extra method supported')
    equal(await ask('SELECT', 'protected', 'SECURE', await challengeAnswer(client, 'helloworld')), '+OK')
    equal(await ask('SET', 'key', 'value'), '$key')

    equal(await ask('SELECT', 'default'), '+OK')
    equal(await ask('SELECT', 'default'), '+OK')
    equal(await ask('NSSET', 'protected', 'public', '1'), '+OK')
    equal(await ask('SELECT', 'protected'), '+OK')
    equal(await ask('GET', 'key'), '$value')
    equal(await ask('SET', 'key', 'other'), '-Namespace is in read-only mode')
    equal(await ask('DEL', 'key'), '-Namespace is in read-only mode')
    equal(await ask('NSSET', 'protected', 'password', '*'), '+OK')
    equal(await ask('SET', 'key', 'other'), '-Namespace is in read-only mode', 'decided at SELECT')
    equal(await ask('SELECT', 'protected'), '+OK')
    equal(await ask('SET', 'key', 'other'), '$key')
    equal(await ask('NSSET', 'protected', 'password', 'mynewpassword'), '+OK')
    equal(await ask('SELECT', 'protected', 'mynewpassword'), '+OK')
    match(await ask('NSINFO', 'protected'), /\npassword: yes\n/)
    equal(await ask('SELECT', 'default'), '+OK')
  })

  await t.test('NSSET errors', async () => {
    equal(await ask('NSSET', 'nowhere', 'maxsize', '1'), '-Namespace not found')
    equal(await ask('NSSET', 'first', 'color', 'red'), '-Invalid property')
    equal(await ask('NSSET', 'first', 'MAXSIZE', '1'), '-Invalid property')
    equal(await ask('NSSET', 'first', 'password', 'x'.repeat(119)), '-Argument too long')
    equal(await ask('NSSET', 'first', 'x'.repeat(257), '1'), '-Argument too long')
    equal(await ask('NSSET', 'first', 'maxsize'), '-Unexpected arguments')
    for (const property of ['public', 'maxsize', 'password', 'worm', 'color']) {
      equal(await ask('NSSET', 'default', property, '1'), '-Cannot update default namespace')
    }
  })

  await t.test('quota', async () => {
    equal(await ask('NSNEW', 'quota'), '+OK')
    equal(await ask('NSSET', 'quota', 'maxsize', '16'), '+OK')
    equal(await ask('SELECT', 'quota'), '+OK')
    equal(await ask('SET', 'ten', 'x'.repeat(10)), '$ten')
    equal(await ask('SET', 'five', 'x'.repeat(5)), '$five')
    equal(await ask('SET', 'one', 'x'), '$one')
    equal(await ask('SET', 'more', 'x'), '-No space left on this namespace')
    equal(await ask('SET', 'one', 'y'), '$one')
    equal(await ask('SET', 'ten', 'x'.repeat(5)), '$ten')
    equal(await ask('SET', 'six', 'x'.repeat(6)), '-No space left on this namespace')
    equal(await ask('SET', 'six', 'x'.repeat(5)), '$six')
    match(await ask('NSINFO', 'quota'), /data_size_bytes: 16\n[\s\S]*\nspace_available: 0\n/)
    equal(await ask('SELECT', 'default'), '+OK')
  })

  await t.test('worm, lock, freeze', async () => {
    equal(await ask('NSNEW', 'rules'), '+OK')
    equal(await ask('SELECT', 'rules'), '+OK')
    equal(await ask('SET', 'kept', 'value'), '$kept')
    equal(await ask('NSSET', 'rules', 'worm', '1'), '+OK')
    equal(await ask('SET', 'kept', 'other'), '-Namespace is protected by worm mode')
    equal(await ask('DEL', 'kept'), '-Cannot delete a key when namespace is in worm mode')
    equal(await ask('SET', 'new', 'value'), '$new')
    equal(await ask('NSSET', 'rules', 'worm', '0'), '+OK')
    equal(await ask('NSSET', 'rules', 'lock', '1'), '+OK')
    equal(await ask('SET', 'kept', 'other'), '-Namespace is temporarily locked (read-only)')
    equal(await ask('GET', 'kept'), '$value')
    equal(await ask('NSSET', 'rules', 'freeze', '1'), '+OK')
    for (const command of [['GET', 'kept'], ['SET', 'kept', 'x'], ['DEL', 'kept'], ['EXISTS', 'kept'], ['SCAN']]) {
      equal(await ask(...command), '-Namespace is temporarily frozen (read-write disabled)')
    }
    match(await ask('NSINFO', 'rules'), /\nlocked: yes\n/)
    equal(await ask('DBSIZE'), ':2')
    equal(await ask('NSSET', 'rules', 'lock', '0'), '+OK')
    equal(await ask('DEL', 'kept'), '+OK')
    equal(await ask('SELECT', 'default'), '+OK')
  })

  await t.test('mode changes only while a namespace is fresh', async () => {
    equal(await ask('NSNEW', 'sequence'), '+OK')
    equal(await ask('NSSET', 'sequence', 'mode', 'other'), '-Invalid property value (expected: user, seq)')
    equal(await ask('NSSET', 'sequence', 'mode', 'seq'), '+OK')
    equal(await ask('SELECT', 'sequence'), '+OK')
    equal(await ask('SET', '', 'x'), `$${'\0'.repeat(8)}`)
    equal(await ask('NSSET', 'sequence', 'mode', 'user'), '-Cannot change mode of used namespace')
    equal(await ask('SELECT', 'default'), '+OK')
  })

  await t.test('FLUSH empties a private namespace and ids begin at 0', async () => {
    equal(await ask('FLUSH'), '-Flushing public namespace denied')
    equal(await ask('NSNEW', 'scratch'), '+OK')
    equal(await ask('NSSET', 'scratch', 'mode', 'seq'), '+OK')
    equal(await ask('NSSET', 'scratch', 'password', 'secret'), '+OK')
    equal(await ask('NSSET', 'scratch', 'public', '0'), '+OK')
    equal(await ask('SELECT', 'scratch', 'secret'), '+OK')
    for (let round = 0; round < 3; round++) {
      for (let number = 0; number < 5; number++) client.send('SET', '', `round ${round} value ${number}`)
      for (let number = 0; number < 5; number++)
        equal(await client.reply(), `$${String.fromCharCode(number)}${'\0'.repeat(7)}`)
      // Pipelined: what follows FLUSH on its connection comes after it.
      client.send('FLUSH')
      client.send('DBSIZE')
      equal(await client.reply(), '+OK')
      equal(await client.reply(), ':0')
    }
    match(await ask('NSINFO', 'scratch'), /mode: sequential/)
    equal(await ask('SELECT', 'default'), '+OK')
  })

  await t.test('NSDEL detaches its connections', async () => {
    equal(await ask('NSNEW', 'doomed'), '+OK')
    equal(await ask('NSDEL', 'x'.repeat(511)), '-Namespace too long')
    equal(await ask('SELECT', 'doomed'), '+OK')
    equal(await ask('NSDEL', 'doomed', 'extra'), '-Unexpected arguments')
    equal(await ask('NSDEL', 'doomed'), "-Cannot remove namespace you're currently using.")
    equal(await ask('NSDEL', 'default'), '-Cannot remove default namespace')
    equal(await ask('SET', 'key', 'value'), '$key')
    const attached = await cachedb.raw()
    equal(await attached.ask('SELECT', 'doomed'), '+OK')
    equal(await ask('SELECT', 'default'), '+OK')
    equal(await ask('NSDEL', 'doomed'), '+OK')
    equal(await ask('NSDEL', 'doomed'), "-This namespace doesn't exists")
    equal(await attached.ask('PING'), '-Your active namespace is not available anymore (probably removed).')
    equal(await attached.untilClosed(), '')
    equal(await ask('NSNEW', 'doomed'), '+OK')
    equal(await ask('SELECT', 'doomed'), '+OK')
    equal(await ask('GET', 'key'), '$-1')
    equal(await ask('SELECT', 'default'), '+OK')
  })

  await t.test('NSJUMP begins a new segment', async () => {
    equal(await ask('SET', 'before', 'jump'), '$before')
    equal(await ask('NSJUMP'), '+OK')
    match(await ask('NSINFO', 'default'), /\ndata_current_id: 1\n/)
    equal(await ask('GET', 'before'), '$jump')
  })
})

test('with an admin password', async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const passwordFile = join(directory.path, 'password')
  writeFileSync(passwordFile, 'root\n')
  const cachedb = await CachedbProcess.start(t, { admin_password_file: passwordFile, mode: 'user' })
  const client = await cachedb.raw()
  const ask = client.ask.bind(client)
  const adminOnly = [['NSNEW', 'x'], ['NSDEL', 'x'], ['NSSET', 'x', 'y', 'z'], ['NSJUMP'], ['HOOKS'], ['STOP']]

  for (const command of adminOnly) equal(await ask(...command), '-Permission denied')
  equal(await ask('SET', 'a', 'b', '1'), '-Permission denied')
  equal(await ask('SET', 'a', 'b'), '$a')
  equal(await ask('DEL', 'a', '1'), '-Permission denied')
  equal(await ask('AUTH'), '-Unexpected arguments')
  equal(await ask('AUTH', ''), '-Invalid argument')
  equal(await ask('AUTH', 'x'.repeat(129)), '-Password too long')
  equal(await ask('AUTH', 'blabla'), '-Access denied')
  equal(await ask('AUTH', 'SECURE', 'bipbap'), '-No CHALLENGE requested, secure authentication not available')
  await challengeAnswer(client, 'root')
  equal(await ask('AUTH', 'SECURE', 'bipbap'), '-Invalid hash length', 'the challenge is kept')
  equal(await ask('AUTH', 'SECURE', '0'.repeat(40)), '-Access denied')
  const answer = await challengeAnswer(client, 'root')
  equal(await ask('AUTH', 'SECURE', answer), '+OK')
  equal(await ask('AUTH', 'SECURE', answer), '-No CHALLENGE requested, secure authentication not available')
  equal(await ask('NSNEW', 'x'), '+OK')
  equal(await ask('AUTH', 'wrong'), '-Access denied')
  equal(await ask('NSDEL', 'x'), '+OK', 'a failed AUTH revokes nothing')
  equal(
    await ask('NSSET', 'default', 'mode', 'seq'),
    '-This server instance is configured to use a single runtime mode',
  )
  await using other = await cachedb.client({ adminPassword: 'root' })
  equal(String(await other.call('NSJUMP')), 'OK')
})

test('settings survive kill -9, lock and freeze do not', async t => {
  const cachedb = await CachedbProcess.start(t)
  {
    await using client = await cachedb.client()
    await client.call('NSNEW', 'kept')
    await client.call('NSSET', 'kept', 'password', 'secret')
    await client.call('NSSET', 'kept', 'maxsize', '12345')
    await client.call('NSSET', 'kept', 'worm', '1')
    await client.call('NSSET', 'kept', 'mode', 'seq')
    await client.call('NSSET', 'kept', 'lock', '1')
    await client.call('NSNEW', 'dropped')
    await client.call('NSDEL', 'dropped')
  }
  await cachedb.process.kill9()
  await cachedb.start()
  const client = await cachedb.raw()
  equal(await client.ask('NSLIST'), '[$default $kept]')
  match(
    await client.ask('NSINFO', 'kept'),
    /public: yes\nworm: yes\nlocked: no\npassword: yes\n[\s\S]*data_limits_bytes: 12345\n[\s\S]*mode: sequential\n/,
  )
  equal(await client.ask('SELECT', 'kept', 'wrong'), '-Access denied')
  equal(await client.ask('SELECT', 'kept', 'secret'), '+OK')
})
