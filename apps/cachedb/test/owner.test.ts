import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import { parsePositions, RespError } from '@qsfs/resp/client'
import { CachedbProcess } from './cachedb-process.ts'

const lost = '-OWNER another client owns this namespace'

test('one owner per namespace', async t => {
  const cachedb = await CachedbProcess.start(t)
  const admin = await cachedb.raw()
  equal(await admin.ask('NSNEW', 'data'), '+OK')
  equal(await admin.ask('NSSET', 'data', 'mode', 'seq'), '+OK')
  equal(await admin.ask('NSNEW', 'meta'), '+OK')
  const own = { namespace: 'meta', owner: { token: 'one', namespaces: ['data', 'meta'] } }

  await t.test('positions say where the namespaces stand', async () => {
    await using client = await cachedb.client(own)
    const [data, meta] = client.positions
    ok(data && meta)
    match(data.instance, /^[0-9a-f]{16}$/)
    match(data.incarnation, /^[0-9a-f]{16}$/)
    equal(data.instance, meta.instance)
    notEqual(data.incarnation, meta.incarnation)
    equal(data.nextId, 0)
    await client.call('SET', 'a', '1')
    await client.call('SET', 'b', '2')
    const [after] = parsePositions(await client.call('FSYNC', 'meta'))
    equal(after!.appended, meta.appended + 2)
    equal(after!.synced, after!.appended)
    await client.call('SELECT', 'data')
    await client.call('SET', '', 'block')
    const synced = parsePositions(await client.call('FSYNC', 'data', 'meta'))
    deepEqual(
      synced.map(({ nextId }) => nextId),
      [1, 0],
    )
  })

  await t.test('a new owner makes the older one fail, buffered commands included', async () => {
    await using older = await cachedb.client(own)
    await older.call('SET', 'i5', 'of the older')
    // A busy server finds these in the socket's buffer after it has executed the new OWNER: writes that race it are
    // either executed before it or refused, and nothing of the older is executed after it.
    const late = Array.from({ length: 50 }, (_, number) => older.call('SET', 'i5', `late ${number}`))
    const settled = Promise.allSettled(late)
    await using newer = await cachedb.client({ ...own, owner: { token: 'two', namespaces: ['data', 'meta'] } })
    await newer.call('SET', 'i5', 'of the newer')
    await settled
    equal(String(await newer.call('GET', 'i5')), 'of the newer')
    for (const command of [
      ['SET', 'i5', 'x'],
      ['GET', 'i5'],
      ['DEL', 'i5'],
      ['SCAN'],
      ['FSYNC'],
      ['WARM', '0'],
      ['SEGMENTS'],
    ]) {
      await rejects(older.call(...(command as [string])), { name: 'RespError', message: lost.slice(1) })
    }
    await rejects(
      cachedb.client(own),
      (error: unknown) => error instanceof RespError && error.message === lost.slice(1),
    )
    equal(String(await newer.call('GET', 'i5')), 'of the newer')
  })

  await t.test('attempts of one owner', async () => {
    const attempt = (number: number) =>
      cachedb.client({ namespace: 'meta', owner: { token: `fs.${number}`, namespaces: ['meta'] } })
    await using first = await attempt(1)
    await using beside = await attempt(1)
    await first.call('SET', 'k', 'first')
    await beside.call('SET', 'k', 'beside')
    await using second = await attempt(2)
    await rejects(first.call('SET', 'k', 'late'), /OWNER/)
    await rejects(beside.call('GET', 'k'), /OWNER/)
    await rejects(attempt(1), /OWNER/)
    equal(String(await second.call('GET', 'k')), 'beside')
  })

  await t.test('all namespaces or none', async () => {
    await using holder = await cachedb.client({ namespace: 'data', owner: { token: 'three', namespaces: ['data'] } })
    // `two` lost data just now, so it may not take default either.
    equal(await admin.ask('OWNER', 'two', 'default', 'data'), lost)
    equal(await admin.ask('OWNER', 'four', 'default', 'nowhere'), '-Namespace not found')
    equal(await admin.ask('OWNER', 'four'), '-Missing arguments')
    equal(await admin.ask('OWNER', 'bad token', 'default'), '-Invalid argument')
    ok(Array.isArray(await holder.call('OWNER', 'five', 'default')))
  })

  await t.test('a protected namespace is owned and synced by who knows its password', async () => {
    equal(await admin.ask('NSNEW', 'locked'), '+OK')
    equal(await admin.ask('NSSET', 'locked', 'password', 'secret'), '+OK')
    const stranger = await cachedb.raw()
    equal(await stranger.ask('OWNER', 'x', 'locked'), '-Access denied')
    equal(await stranger.ask('FSYNC', 'locked'), '-Access denied')
    equal(await stranger.ask('SELECT', 'locked'), '+OK')
    equal(await stranger.ask('OWNER', 'x', 'locked'), '-Access denied')
    equal(await stranger.ask('SELECT', 'locked', 'secret'), '+OK')
    match(await stranger.ask('OWNER', 'x', 'locked'), /^\[\[/)
    match(await stranger.ask('FSYNC', 'locked'), /^\[\[/)
  })
})

test('what was answered before OWNER is all there is of the older owner', async t => {
  // hazards: a process dies with SETs in the server's receive buffer; they must not overwrite what its successor writes.
  const cachedb = await CachedbProcess.start(t)
  const older = await cachedb.raw()
  match(await older.ask('OWNER', 'older', 'default'), /^\[\[/)
  const value = 'x'.repeat(64 * 1024)
  for (let number = 0; number < 200; number++) older.send('SET', 'k', `${number}${value}`)
  older.socket.end()
  await using newer = await cachedb.client({ owner: { token: 'newer', namespaces: ['default'] } })
  await newer.call('SET', 'k', 'mine')
  await older.untilClosed()
  equal(String(await newer.call('GET', 'k')), 'mine')
})
