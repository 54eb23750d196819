import { deepEqual, equal, match } from 'node:assert/strict'
import { test } from 'node:test'
import { PointStore, readPoint, restored } from './point-store.ts'
import { type SocketlessClient, SocketlessServer } from './session-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

async function withNamespaces(options: { readonly isUp?: boolean } = {}) {
  const storage = new SimulatedStorage()
  const store = new PointStore()
  store.isUp = options.isUp ?? true
  const server = await SocketlessServer.start({ storage, hooks: store.hooks })
  const client = server.client()
  for (const name of ['data', 'meta']) equal(await client.ask('NSNEW', name), '+OK')
  equal(await client.ask('NSSET', 'data', 'mode', 'seq'), '+OK')
  const put = async (name: string, key: string, value: string) => {
    equal(await client.ask('SELECT', name), '+OK')
    match(await client.ask('SET', key, value), /^\$/)
  }
  const { points } = server.state
  // Looked at when the hook is told: afterwards the segments may die.
  const keysIn = new Map<string, readonly string[]>()
  store.onTold = async path => {
    const { number, namespaces } = readPoint(storage, path)
    for (const part of namespaces) {
      const keys = [...(await restored(storage, part)).keys()].map(key => Buffer.from(key, 'hex').toString('latin1'))
      keysIn.set(`${part.name} at ${number}`, keys)
    }
  }
  return { storage, store, server, client, put, points, keysIn }
}

const numberOf = (reply: string) => Number(/^\[:(\d+) \[/.exec(reply)?.[1])

test('POINT: what it takes', async () => {
  await using without = await SocketlessServer.start()
  equal(await without.client().ask('POINT', 'default'), '-ERR a recovery point needs a hook that stores segments')
  const { server, client } = await withNamespaces()
  await using _server = server
  equal(await client.ask('POINT'), '-Missing arguments')
  equal(await client.ask('POINT', ''), '-Invalid argument')
  equal(await client.ask('POINT', 'nowhere'), '-Namespace not found')
  match(
    await client.ask('POINT', 'data', 'meta'),
    /^\[:1 \[\$[0-9a-f]{16} :0 :0 :0 \$[0-9a-f]{16}\] \[\$[0-9a-f]{16} :0 :0 :0 \$[0-9a-f]{16}\]\]$/,
  )
})

test('only the owner cuts what is owned, only an admin what is not', async () => {
  const store = new PointStore()
  await using server = await SocketlessServer.start({ hooks: store.hooks, adminPassword: 'root' })
  const [owner, other, admin] = [server.client(), server.client(), server.client()]
  equal(await admin.ask('AUTH', 'root'), '+OK')
  equal(await other.ask('POINT', 'default'), '-Permission denied')
  equal(numberOf(await admin.ask('POINT', 'default')), 1)
  match(await owner.ask('OWNER', 'fs.1', 'default'), /^\[/)
  await server.pass(1_000)
  await owner.ask('SET', 'a', 'b')
  equal(await admin.ask('POINT', 'default'), '-OWNER another client owns this namespace')
  equal(numberOf(await owner.ask('POINT', 'default')), 2)
  match(await other.ask('OWNER', 'fs.2', 'default'), /^\[/)
  equal(await owner.ask('POINT', 'default'), '-OWNER another client owns this namespace')
  equal(await admin.ask('NSNEW', 'locked'), '+OK')
  equal(await admin.ask('NSSET', 'locked', 'password', 'x'), '+OK')
  equal(await admin.ask('POINT', 'locked'), '-Access denied')
})

test('a point is published when the store has all of it, and not before', async () => {
  const { storage, store, server, client, put, points, keysIn } = await withNamespaces({ isUp: false })
  await using _server = server
  await put('data', '', 'block')
  await put('meta', 'inode', 'one')
  const reply = await client.ask('POINT', 'data', 'meta')
  match(reply, /^\[:1 \[\$\w{16} :1 :1 :1 \$\w{16}\] \[\$\w{16} :0 :1 :1 \$\w{16}\]\]$/)
  await put('data', '', 'later')
  await put('meta', 'inode', 'two')
  await server.pass(60_000)
  deepEqual(store.told, [])
  equal(points.status.stage, 'storing')
  equal(points.status.unstoredSegments, 2)
  equal(storage.sizeBytes('/data/.points/p1'), null)

  store.isUp = true
  store.exitCode = 3
  await server.pass(600_000)
  const tries = store.told.length
  equal(tries > 2, true, 'until it exits 0')
  equal(points.status.published, 0)
  equal(points.status.stage, 'publishing')
  match(points.status.note, /the hook answered 3/)
  store.exitCode = 0
  await server.pass(300_000)
  equal(store.told.length, tries + 1)
  deepEqual(new Set(store.told), new Set(['/data/.points/p1']))
  deepEqual(keysIn.get('data at 1'), ['\0'.repeat(8)])
  deepEqual(keysIn.get('meta at 1'), ['inode'])
  const { published, stage, note } = points.status
  deepEqual({ published, stage, note }, { published: 1, stage: 'idle', note: '' })

  const point = readPoint(storage, '/data/.points/p1')
  deepEqual([point.previous, point.epoch, point.namespaces.map(({ name }) => name)], [0, 0, ['data', 'meta']])
  equal(point.namespaces[0]!.nextId, 1)

  equal(numberOf(await client.ask('POINT', 'data', 'meta')), 2)
  await server.pass(1_000)
  equal(points.status.published, 2)
  equal(readPoint(storage, '/data/.points/p2').previous, 1)
  equal(storage.sizeBytes('/data/.points/p1'), null, 'the last one stays')
  for (const name of ['data', 'meta']) equal(server.state.namespaces.get(name)!.namespace.lastPoint, 2)
})

test('nothing changed: the point is the last one, and no segment is begun', async () => {
  const { server, client, put, store } = await withNamespaces()
  await using _server = server
  await put('data', '', 'block')
  equal(numberOf(await client.ask('POINT', 'data', 'meta')), 1)
  await server.pass(1_000)
  const segments = () => server.state.namespaces.get('data')!.namespace.segments().length
  const before = segments()
  for (let round = 0; round < 3; round++) equal(numberOf(await client.ask('POINT', 'meta', 'data')), 1)
  await server.pass(1_000)
  equal(store.told.length, 1)
  equal(segments(), before)
  equal(numberOf(await client.ask('POINT', 'data')), 2, 'of other namespaces it is another one')
  await server.pass(1_000)
  await client.ask('NSSET', 'data', 'maxsize', '1000')
  equal(numberOf(await client.ask('POINT', 'data')), 3, 'settings belong to it')
})

test('what is asked for while a point is under way becomes one next point', async () => {
  const { storage, server, client, put, store, points } = await withNamespaces({ isUp: false })
  await using _server = server
  await put('meta', 'a', '1')
  equal(numberOf(await client.ask('POINT', 'meta')), 1)
  await put('meta', 'b', '2')
  equal(numberOf(await client.ask('POINT', 'meta')), 2)
  await put('data', '', 'block')
  equal(numberOf(await client.ask('POINT', 'data', 'meta')), 2)
  equal(points.status.isNextOwed, true)
  store.isUp = true
  await server.pass(10_000)
  deepEqual(store.told, ['/data/.points/p1', '/data/.points/p2'])
  const { namespaces } = readPoint(storage, '/data/.points/p2')
  deepEqual(namespaces.map(({ name }) => name).sort(), ['data', 'meta'])
  equal(points.status.published, 2)
  equal(points.status.isNextOwed, false)
})

test('segments of a point do not die before it is published', async () => {
  const { server, client, put, store, keysIn } = await withNamespaces({ isUp: false })
  await using _server = server
  await put('meta', 'a', '1')
  const alive = () => server.state.namespaces.get('meta')!.namespace.segments()
  await client.ask('POINT', 'meta')
  equal(await client.ask('DEL', 'a'), '+OK')
  await server.pass(1_000)
  deepEqual(
    alive().map(({ id, state }) => [id, state]),
    [
      [0, 'closed'],
      [1, 'open'],
    ],
  )
  store.isUp = true
  await server.pass(10_000)
  deepEqual(keysIn.get('meta at 1'), ['a'])
  deepEqual(
    alive().map(({ id, state }) => [id, state]),
    [[1, 'open']],
  )
  deepEqual(store.deleted, ['/data/meta/d0'])
})

test('a flushed namespace is cut again under the next number; a dropped one is given up', async () => {
  const { server, client, put, store, points, keysIn } = await withNamespaces({ isUp: false })
  await using _server = server
  await put('meta', 'a', '1')
  await client.ask('NSSET', 'meta', 'password', 'x')
  await client.ask('NSSET', 'meta', 'public', '0')
  await client.ask('SELECT', 'meta', 'x')
  equal(numberOf(await client.ask('POINT', 'meta')), 1)
  equal(await client.ask('FLUSH'), '+OK')
  equal(await client.ask('SET', 'b', '2'), '$b')
  store.isUp = true
  await server.pass(10_000)
  deepEqual(store.told, ['/data/.points/p2'])
  deepEqual(keysIn.get('meta at 2'), ['b'])

  store.isUp = false
  await client.ask('SET', 'c', '3')
  equal(numberOf(await client.ask('POINT', 'meta')), 3)
  equal(await client.ask('SELECT', 'default'), '+OK')
  equal(await client.ask('NSDEL', 'meta'), '+OK')
  await server.pass(10_000)
  match(points.status.note, /point 3 was given up: meta was flushed, dropped or closed/)
  equal(points.status.underWay, 0)
  await put('data', '', 'x')
  store.isUp = true
  equal(numberOf(await client.ask('POINT', 'data')), 4, 'the server goes on')
  await server.pass(10_000)
  equal(points.status.published, 4)
})

test('a failed sync behind the cut: what it moved is in the next point', async () => {
  const { storage, server, client, put, points, keysIn } = await withNamespaces()
  await using _server = server
  await put('meta', 'a', '1')
  let failedCount = 0
  storage.failsSync = path => path === '/data/meta/d0' && failedCount++ === 0
  equal(numberOf(await client.ask('POINT', 'meta')), 1)
  await server.pass(60_000)
  equal(failedCount > 0, true)
  equal(points.status.stage, 'idle')
  equal(points.status.published, 2)
  deepEqual([...keysIn], [['meta at 2', ['a']]])
})

test('a namespace that turned read-only: POINT says so, and others go on', async () => {
  const { storage, server, client, put, points } = await withNamespaces()
  await using _server = server
  await put('meta', 'a', '1')
  storage.failsSync = path => path.startsWith('/data/meta/d')
  match(await client.ask('POINT', 'meta'), /^-READONLY /)
  await server.pass(10_000)
  match(points.status.note, /given up/)
  equal(points.status.stage, 'idle')
  match(await client.ask('POINT', 'meta'), /^-READONLY /)
  await put('data', '', 'x')
  equal(Number.isInteger(numberOf(await client.ask('POINT', 'data'))), true)
  await server.pass(10_000)
  equal(points.status.stage, 'idle')
  equal(points.status.note, '')
  await assertReadable(client)
})

/** A server that was killed while the hook did not take its point. */
async function killedWhilePublishing() {
  const { storage, server, put, store, client } = await withNamespaces()
  await put('meta', 'a', '1')
  await put('data', '', 'block')
  store.exitCode = 1
  equal(numberOf(await client.ask('POINT', 'data', 'meta')), 1)
  await server.pass(1_000)
  equal(store.told.length > 0, true)
  const image = storage.kill()
  await server[Symbol.asyncDispose]()
  return image
}

test('a start goes on with a point whose file is written', async () => {
  const storage = await killedWhilePublishing()
  const store = new PointStore()
  {
    await using server = await SocketlessServer.start({ storage, hooks: store.hooks })
    equal(server.state.points.status.stage, 'publishing')
    equal(numberOf(await server.client().ask('POINT', 'meta')), 2, 'one at a time')
    await server.pass(1_000)
    deepEqual(store.told, ['/data/.points/p1', '/data/.points/p2'])
  }
  await using again = await SocketlessServer.start({ storage, hooks: store.hooks })
  await again.pass(1_000)
  equal(store.told.length, 2, 'it is on record')
  equal(again.state.points.status.published, 2)
  equal(numberOf(await again.client().ask('POINT', 'meta')), 2, 'and nothing has changed since')
})

test('a start gives up a point whose segments are not all there, and never gives its number again', async () => {
  const storage = await killedWhilePublishing()
  {
    await using without = await SocketlessServer.start({ storage })
    equal(await without.client().ask('NSDEL', 'meta'), '+OK')
  }
  const store = new PointStore()
  await using server = await SocketlessServer.start({ storage, hooks: store.hooks })
  const { points } = server.state
  equal(points.status.underWay, 0)
  equal(points.status.published, 0, 'without a hook nobody took it')
  match(points.status.note, /point 1 was given up: the start found no longer all of it/)
  equal(numberOf(await server.client().ask('POINT', 'data')), 2)
  await server.pass(1_000)
  deepEqual(store.told, ['/data/.points/p2'])
})

test('a damaged point file is passed over, and its number too', async () => {
  const storage = await killedWhilePublishing()
  const bytes = storage.bytesOf('/data/.points/p1')
  bytes[80]! ^= 1
  storage.put('/data/.points/p1', bytes)
  const store = new PointStore()
  await using server = await SocketlessServer.start({ storage, hooks: store.hooks })
  equal(numberOf(await server.client().ask('POINT', 'data', 'meta')), 2)
  await server.pass(1_000)
  deepEqual(store.told, ['/data/.points/p2'])
  equal(storage.sizeBytes('/data/.points/p1'), null)
})

test('RELOAD while a point is under way', async () => {
  const { server, client, put, store, points, keysIn } = await withNamespaces({ isUp: false })
  await using _server = server
  await put('meta', 'a', '1')
  equal(numberOf(await client.ask('POINT', 'meta')), 1)
  equal(await client.ask('RELOAD', 'meta'), '+OK')
  store.isUp = true
  await server.pass(60_000)
  equal(points.status.published, 2)
  deepEqual([...keysIn], [['meta at 2', ['a']]])
})

async function assertReadable(client: SocketlessClient): Promise<void> {
  equal(await client.ask('SELECT', 'meta'), '+OK')
  equal(await client.ask('GET', 'a'), '$1')
}
