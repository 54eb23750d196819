import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { RespError } from '@qsfs/resp/reply'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { DecoratedBackend } from '../src/backend/decorated-backend.ts'
import { DirectoryBackend, DirectoryRecordBackend } from '../src/backend/directory-backend.ts'
import { DirectoryFiles } from '../src/backend/directory-files.ts'
import { Limiter } from '../src/backend/limit.ts'
import { MemoryBackend, MemoryRecordBackend } from '../src/backend/memory-backend.ts'
import { Retrier } from '../src/backend/retry.ts'
import { Vitals } from '../src/backend/vitals.ts'
import { ZdbBackend } from '../src/backend/zdb/zdb-backend.ts'
import { backendSuite } from './backend-suite.ts'
import { FakeZdb } from './fake-zdb.ts'
import { links, zdbKind } from './zdb-kinds.ts'

backendSuite({
  name: 'memory',
  durability: 'memory',
  open: async () => ({ backend: new MemoryBackend('m'), reopen: null }),
  openRecords: async () => new MemoryRecordBackend('m'),
})

backendSuite({
  name: 'a directory',
  durability: 'disk',
  open: async stack => {
    const { path } = stack.use(await temporaryDirectory())
    return { backend: new DirectoryBackend('d', path), reopen: async () => new DirectoryBackend('d', path) }
  },
  openRecords: async stack => new DirectoryRecordBackend('d', stack.use(await temporaryDirectory()).path),
})

const bare = { tls: null, passwordsSent: 'none' } as const
backendSuite(
  zdbKind('a 0-db server', 'disk', bare, async stack => {
    const { address } = stack.use(await FakeZdb.listen())
    return { address }
  }),
)
backendSuite(
  zdbKind('a 0-db server without FSYNC', 'unknown', bare, async stack => {
    const { address } = stack.use(await FakeZdb.listen({ hasFsync: false }))
    return { address }
  }),
)
backendSuite(
  zdbKind('a 0-db server that knows no challenge', 'disk', { ...bare, passwordsSent: 'clear' }, async stack => {
    const { address } = stack.use(await FakeZdb.listen({ password: 'open sesame' }))
    return { address, adminPassword: 'open sesame' }
  }),
)

backendSuite({
  name: 'memory behind its decorators',
  durability: 'memory',
  open: async () => {
    const retrier = new Retrier(systemClock, randomBytes, new Vitals(systemClock), { attemptsMax: 3 })
    const limiter = new Limiter({ putBytesMax: 1000, readsMax: 2 })
    return { backend: new DecoratedBackend(new MemoryBackend('m'), [retrier, limiter]), reopen: null }
  },
  openRecords: async () => new MemoryRecordBackend('m'),
})

describe('a 0-db backend', () => {
  test('connects anew after the connection was lost', async () => {
    await using server = await FakeZdb.listen()
    await using backend = new ZdbBackend('z', { address: server.address, namespace: 'data' }, links)
    const id = await backend.put(Buffer.from('kept'))
    server.cut()
    const retrying = new DecoratedBackend(backend, [
      new Retrier(systemClock, randomBytes, new Vitals(systemClock), { attemptsMax: 3 }),
    ])
    assert.strictEqual(String(await retrying.get(id)), 'kept')
    await retrying.sync({ ids: [id] })
  })

  test('a restart that lost a piece fails the sync that relies on it', async () => {
    await using server = await FakeZdb.listen()
    await using backend = new ZdbBackend('z', { address: server.address, namespace: 'data' }, links)
    const retrying = new DecoratedBackend(backend, [
      new Retrier(systemClock, randomBytes, new Vitals(systemClock), { attemptsMax: 3 }),
    ])
    const id = await retrying.put(Buffer.from('in its page cache'))
    server.cut({ loses: ['data'] })
    await assert.rejects(retrying.sync(), { reason: 'missing' })
    await assert.rejects(retrying.sync({ ids: [id] }), { reason: 'missing' })
    const again = await retrying.put(Buffer.from('put again'))
    await retrying.sync({ ids: [again] })
  })

  test('an id that is given a second time is trusted by nobody', async () => {
    await using server = await FakeZdb.listen()
    await using backend = new ZdbBackend('z', { address: server.address, namespace: 'data' }, links)
    const retrying = new DecoratedBackend(backend, [
      new Retrier(systemClock, randomBytes, new Vitals(systemClock), { attemptsMax: 3 }),
    ])
    const id = await retrying.put(Buffer.from('in its page cache'))
    // As after a power cut: what was not synced is gone, and so is the memory of its id.
    server.cut({ loses: ['data'] })
    server.namespaces.get('data')!.nextId = id
    assert.strictEqual(await retrying.put(Buffer.from('somebody else')), id)
    await assert.rejects(retrying.sync({ ids: [id] }), { reason: 'missing' })
  })

  test('a removal is on its disk when it resolves', async () => {
    await using server = await FakeZdb.listen()
    await using backend = new ZdbBackend('z', { address: server.address, namespace: 'data' }, links)
    const ids = [await backend.put(Buffer.from('x')), await backend.put(Buffer.from('y'))]
    await backend.remove(ids)
    assert.deepStrictEqual(server.commands.slice(-3), ['DEL', 'DEL', 'FSYNC'])
  })

  test('a server that hangs is unavailable, and given up by a signal', async () => {
    await using server = await FakeZdb.listen()
    await using backend = new ZdbBackend(
      'z',
      { address: server.address, namespace: 'data' },
      { ...links, commandTimeoutMs: 100 },
    )
    await backend.put(Buffer.from('x'))
    server.hangs = true
    await assert.rejects(backend.put(Buffer.from('y')), { reason: 'unavailable' })
    const controller = new AbortController()
    const waiting = backend.put(Buffer.from('z'), { signal: controller.signal })
    controller.abort(new Error('enough'))
    await assert.rejects(waiting, { message: 'enough' })
  })

  test('tells a full backend', async () => {
    await using server = await FakeZdb.listen()
    await using backend = new ZdbBackend('z', { address: server.address, namespace: 'data' }, links)
    server.onCommand = name => {
      if (name === 'SET') throw new RespError('No space left on this namespace')
    }
    await assert.rejects(backend.put(Buffer.from('x')), { reason: 'full' })
  })

  test('a server that answers nonsense is damaged, not a crash', async () => {
    await using server = await FakeZdb.listen()
    await using backend = new ZdbBackend('z', { address: server.address, namespace: 'data' }, links)
    await backend.stat()
    server.namespaces.get('data')!.mode = 'userkey'
    await assert.rejects(backend.put(Buffer.from('x')), { reason: 'damaged' })
  })
})

describe('a directory backend', () => {
  test('is away when its directory is: nothing is made in its place', async () => {
    await using directory = await temporaryDirectory()
    const path = `${directory.path}/disk`
    const [backend, records] = [new DirectoryBackend('d', path), new DirectoryRecordBackend('d', path)]
    await assert.rejects(backend.put(Buffer.from('x')), { reason: 'unavailable' })
    await assert.rejects(backend.get(1), { reason: 'unavailable' })
    await assert.rejects(records.get(Buffer.from('k')), { reason: 'unavailable' })
    await assert.rejects(records.set(Buffer.from('k'), Buffer.from('v')), { reason: 'unavailable' })
  })

  test('is not made anew when it goes away in the middle of a change', async t => {
    await using directory = await temporaryDirectory()
    const path = `${directory.path}/disk`
    const [backend, records] = [new DirectoryBackend('d', path), new DirectoryRecordBackend('d', path)]
    const { freeBytes } = DirectoryFiles.prototype
    t.mock.method(DirectoryFiles.prototype, 'freeBytes', async function (this: DirectoryFiles) {
      const bytes = await freeBytes.call(this)
      await rm(path, { recursive: true })
      return bytes
    })
    await mkdir(path)
    await assert.rejects(backend.put(Buffer.from('x')), { reason: 'unavailable' })
    assert.deepStrictEqual(await readdir(directory.path), [])
    await mkdir(path)
    await assert.rejects(records.set(Buffer.from('k'), Buffer.from('v')), { reason: 'unavailable' })
    assert.deepStrictEqual(await readdir(directory.path), [])
  })

  test('a piece that vanished before its sync fails it', async () => {
    await using directory = await temporaryDirectory()
    const backend = new DirectoryBackend('d', directory.path)
    const id = await backend.put(Buffer.from('x'))
    await rm(`${directory.path}/pieces/0/${id}`)
    await assert.rejects(backend.sync(), { reason: 'missing' })
    await assert.rejects(backend.sync({ ids: [id] }), { reason: 'missing' })
    // Only who relies on that piece goes on hearing of it.
    const next = await backend.put(Buffer.from('y'))
    await backend.sync({ ids: [next] })
  })

  test('takes pieces again after its directory was emptied', async () => {
    await using directory = await temporaryDirectory()
    const path = `${directory.path}/disk`
    await mkdir(path)
    const backend = new DirectoryBackend('d', path)
    const before = await backend.put(Buffer.from('x'))
    await rm(path, { recursive: true })
    await mkdir(path)
    const retrying = new DecoratedBackend(backend, [
      new Retrier(systemClock, randomBytes, new Vitals(systemClock), { attemptsMax: 3 }),
    ])
    const after = await retrying.put(Buffer.from('y'))
    assert.ok(after > before)
    assert.strictEqual((await backend.stat()).valueCount, 1)
    assert.strictEqual(String(await backend.get(after)), 'y')
  })

  test('records that are set one after the other under one key end as the last one', async () => {
    await using directory = await temporaryDirectory()
    const records = new DirectoryRecordBackend('d', directory.path)
    const key = Buffer.from('k')
    const last = Buffer.from('the last one')
    const large = Buffer.alloc(3_000_000, 1)
    await Promise.all([records.set(key, large), records.set(key, large), records.set(key, last)])
    assert.deepStrictEqual(await records.get(key), last)
    await Promise.all([records.set(key, large), records.remove(key)])
    assert.strictEqual(await records.get(key), null)
  })
})
