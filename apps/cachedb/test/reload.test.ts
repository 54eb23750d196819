import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { StorageError } from '../src/segment/storage.ts'
import { SocketlessClient, SocketlessServer } from './session-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** A store in memory, and the events that were told. */
function hooksOf(storage: SimulatedStorage, changes: Partial<Hooks> = {}) {
  const objects = new Map<string, Buffer>()
  const events: string[] = []
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async ({ dataPath }) => {
      objects.set(dataPath, storage.bytesOf(dataPath))
      return '00112233445566778899aabbccddeeff'
    },
    segmentMissing: async ({ dataPath }) => storage.put(dataPath, objects.get(dataPath)!),
    event: async (name, args) => {
      events.push(`${name} ${args.join(' ')}`)
      return 0
    },
    ...changes,
  }
  return { hooks, events }
}

test('RELOAD: arguments, rights, and what stays', async () => {
  const storage = new SimulatedStorage()
  const { hooks, events } = hooksOf(storage)
  await using server = await SocketlessServer.start({ storage, hooks, adminPassword: 'root' })
  const admin = server.client()
  const client = server.client()
  assert.equal(await admin.ask('RELOAD', 'default'), '-Permission denied')
  assert.equal(await admin.ask('AUTH', 'root'), '+OK')
  for (const [args, reply] of [
    [['RELOAD'], '-Unexpected arguments'],
    [['RELOAD', 'default', 'x'], '-Unexpected arguments'],
    [['RELOAD', ''], '-Invalid argument'],
    [['RELOAD', 'x'.repeat(129)], '-Namespace too long'],
    [['RELOAD', 'unknown'], '-Namespace not found'],
  ] as const)
    assert.equal(await admin.ask(...args), reply)

  assert.equal(await client.ask('OWNER', 'one', 'default').then(reply => reply.split(' ')[2]), ':0')
  for (const name of ['a', 'b', 'c']) assert.equal(await client.ask('SET', name, `value of ${name}`), `$${name}`)
  assert.equal(await client.ask('SET', 'a', 'newer'), '$a')
  assert.equal(await client.ask('DEL', 'b'), '+OK')
  await client.ask('NSJUMP')
  assert.equal(await admin.ask('NSJUMP'), '+OK')
  assert.equal(await client.ask('DEL', 'c'), '+OK')
  assert.equal(await admin.ask('INDEX', 'DIRTY'), '[:0]')
  server.state.namespaces.default.dataErrors = 3
  const { incarnation } = server.state.namespaces.default.namespace
  assert.equal(await admin.ask('NSSET', 'default', 'lock', '1'), '+OK')
  assert.equal(await admin.ask('RELOAD', 'default'), '+OK')
  assert.equal(await client.ask('GET', 'a'), '$newer')
  assert.equal(await client.ask('GET', 'c'), '$-1')
  assert.equal(await client.ask('DBSIZE'), ':1')
  assert.equal(await client.ask('SET', 'd', 'x'), '-Namespace is temporarily locked (read-only)')
  assert.equal(await admin.ask('INDEX', 'DIRTY'), '[]')
  assert.equal(server.state.namespaces.default.dataErrors, 0)
  assert.equal(server.state.namespaces.default.namespace.incarnation, incarnation)
  assert(events.includes('namespace-reloaded default'))
  // Positions go on: an owner compares them.
  assert.match(await client.ask('FSYNC'), /^\[\[\$[0-9a-f]{16} :0 :6 :6 \$[0-9a-f]{16}\]\]$/)
  assert.match(await admin.ask('OWNER', 'other', 'default'), /:6 :6/)
  assert.equal(await client.ask('GET', 'a'), '-OWNER another client owns this namespace')
})

test('commands that arrive during a RELOAD wait for it, in their order', async () => {
  await using server = await SocketlessServer.start()
  const [admin, client] = [server.client(), server.client()]
  await client.ask('SET', 'a', '1')
  const { default: hosted } = server.state.namespaces
  const { namespace } = hosted
  const reload = admin.ask('RELOAD', 'default')
  await turns(1)
  assert.notEqual(hosted.reloading, null)
  assert.equal(await client.ask('PING'), '+PONG', 'nothing to do with the namespace')
  const read = client.ask('GET', 'a').then(reply => [reply, hosted.namespace === namespace])
  assert(client.session.serial, 'nothing may overtake it')
  const others = Promise.all(
    [['FSYNC', 'default'], ['NSJUMP'], ['DBSIZE'], ['KSCAN', 'a'], ['INDEX', 'DIRTY']].map(args =>
      server.client().ask(...args),
    ),
  )
  assert.deepEqual(await read, ['$1', false])
  assert(!client.session.serial)
  assert.equal(await reload, '+OK')
  const [position, ...replies] = await others
  assert.match(position!, /:1 :1/)
  assert.deepEqual(replies, ['+OK', ':1', '[$0 [$a]]', '[]'])
})

test('what is written and not synced survives a RELOAD, and a power cut behind it', async () => {
  const storage = new SimulatedStorage()
  const server = await SocketlessServer.start({ storage })
  const client = server.client()
  for (let i = 0; i < 50; i++) await client.ask('SET', `key ${i}`, 'x'.repeat(200))
  assert.equal(await client.ask('RELOAD', 'default'), '+OK')
  await using after = await SocketlessServer.start({ storage: storage.kill() })
  assert.equal(await after.client().ask('DBSIZE'), ':50')
  assert.equal(await client.ask('DBSIZE'), ':50')
  assert.equal(await client.ask('SET', 'more', 'x'), '$more')
  await server[Symbol.asyncDispose]()
})

test('a read that waits for its segment gets it, RELOAD or not', async () => {
  const storage = new SimulatedStorage()
  const arrival = Promise.withResolvers<void>()
  const made = hooksOf(storage)
  const hooks: Hooks = {
    ...made.hooks,
    segmentMissing: async missing => {
      await arrival.promise
      await made.hooks.segmentMissing(missing)
    },
  }
  {
    await using server = await SocketlessServer.start({ storage, hooks })
    await server.client().ask('SET', 'cold', 'value')
    await server.client().ask('NSJUMP')
    await turns(40)
  }
  storage.remove('/data/default/d0')
  await using server = await SocketlessServer.start({ storage, hooks })
  const read = server.client().ask('GET', 'cold')
  await turns(5)
  const reload = server.client().ask('RELOAD', 'default')
  await turns(5)
  arrival.resolve()
  assert.equal(await reload, '+OK')
  assert.equal(await read, '$value')
})

test('a read-only namespace is not reloaded: what a failed sync left may be in memory alone', async () => {
  const storage = new SimulatedStorage()
  await using server = await SocketlessServer.start({ storage })
  const client = server.client()
  const openAppend = storage.openAppend.bind(storage)
  storage.openAppend = path =>
    Object.assign(openAppend(path), { sync: async () => Promise.reject(new StorageError('EIO')) })
  await client.ask('NSJUMP')
  await client.ask('SET', 'a', '1')
  assert.match(await client.ask('FSYNC'), /^-READONLY/)
  assert.match(await client.ask('RELOAD', 'default'), /^-READONLY/)
  assert.equal(await client.ask('GET', 'a'), '$1')
  assert.match(await client.ask('SET', 'b', '1'), /^-READONLY/)
})

test('a namespace that cannot be opened again says so until it can', async () => {
  const storage = new SimulatedStorage()
  const { hooks } = hooksOf(storage, {
    segmentClosed: async () => null,
    segmentMissing: async () => {
      throw new HookFailed('no')
    },
  })
  await using server = await SocketlessServer.start({ storage, hooks })
  const client = server.client()
  await client.ask('NSNEW', 'other')
  await client.ask('SELECT', 'other')
  await client.ask('SET', 'a', '1')
  await client.ask('NSJUMP')
  await turns(40)
  const openAppend = storage.openAppend.bind(storage)
  storage.openAppend = path => {
    if (path.endsWith('/manifest')) throw new StorageError('EIO')
    return openAppend(path)
  }
  const refusal = '-IOERR the namespace cannot be opened: EIO'
  assert.equal(await client.ask('RELOAD', 'other'), refusal)
  assert.equal(await client.ask('GET', 'a'), refusal)
  assert.equal(await client.ask('RELOAD', 'other'), refusal)
  assert.equal(await server.client().ask('GET', 'a'), '$-1', 'others are served')
  storage.openAppend = openAppend
  assert.equal(await client.ask('RELOAD', 'other'), '+OK')
  assert.equal(await client.ask('GET', 'a'), '$1')
})

test('a server that ends does not wait for a RELOAD that waits for a store', async () => {
  const storage = new SimulatedStorage()
  const made = hooksOf(storage)
  const never = new Promise<void>(() => {})
  {
    await using server = await SocketlessServer.start({ storage, hooks: made.hooks })
    await server.client().ask('SET', 'cold', 'value')
    await server.client().ask('NSJUMP')
    await turns(40)
  }
  storage.remove('/data/default/d0')
  const server = await SocketlessServer.start({ storage, hooks: { ...made.hooks, segmentMissing: () => never } })
  void server.client().ask('GET', 'cold')
  await turns(5)
  const reload = server.client().ask('RELOAD', 'default')
  await turns(5)
  await server[Symbol.asyncDispose]()
  assert.equal(await reload, '-IOERR the server ends')
})

test('clients go on through RELOADs as if there were none', async t => {
  const prng = seededPrng(t)
  const below = (limit: number) => prng.bytes(4).readUInt32LE(0) % limit
  const storage = new SimulatedStorage()
  await using server = await SocketlessServer.start({ storage, hooks: hooksOf(storage).hooks })
  let isOver = false
  const clients = Array.from({ length: 8 }, async (_, number) => {
    // Half of them are answered when their writes are on disk.
    const client = new SocketlessClient({ ...server.state, syncEachWrite: number % 2 === 0 })
    const model = new Map<string, string>()
    while (!isOver) {
      const key = `${number}.${below(20)}`
      const value = `${prng.bytes(below(100)).toString('hex')}!`
      switch (below(4)) {
        case 0:
          assert.equal(await client.ask('SET', key, value), model.get(key) === value ? '$-1' : `$${key}`)
          model.set(key, value)
          break
        case 1:
          assert.equal(await client.ask('DEL', key), model.delete(key) ? '+OK' : '-Key not found')
          break
        case 2:
          assert.match(await client.ask('FSYNC', 'default'), /^\[\[\$/)
          break
        default:
          assert.equal(await client.ask('GET', key), `$${model.get(key) ?? '-1'}`)
      }
      await turns(1)
    }
    return model
  })
  for (let reload = 0; reload < 12; reload++) {
    await turns(below(40))
    assert.equal(await server.client().ask('RELOAD', 'default'), '+OK')
  }
  isOver = true
  const models = await Promise.all(clients)
  const size = models.reduce((sum, model) => sum + model.size, 0)
  assert.equal(await server.client().ask('DBSIZE'), `:${size}`)
  for (const model of models)
    for (const [key, value] of model) assert.equal(await server.client().ask('GET', key), `$${value}`)
})

test('NSDEL behind a RELOAD detaches who waited for it', async () => {
  await using server = await SocketlessServer.start()
  const [admin, client] = [server.client(), server.client()]
  await admin.ask('NSNEW', 'other')
  await client.ask('SELECT', 'other')
  await client.ask('SET', 'a', '1')
  const reload = admin.ask('RELOAD', 'other')
  const drop = admin.ask('NSDEL', 'other')
  await turns(1)
  const set = client.ask('SET', 'b', '2')
  assert.equal(await reload, '+OK')
  assert.equal(await drop, '+OK')
  assert.match(await set, /^(\$b|-Your active namespace is not available anymore.*)$/)
  assert.match(await client.ask('GET', 'a'), /^-Your active namespace is not available anymore/)
  assert(client.session.finished)
})
