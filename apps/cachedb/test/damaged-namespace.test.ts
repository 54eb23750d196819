import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { finishDrops } from '../src/engine/dropped.ts'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { Namespaces } from '../src/engine/namespaces.ts'
import { decodeManifest, encodeRecord } from '../src/segment/manifest-format.ts'
import { type AppendFile, type ReadFile, StorageError } from '../src/segment/storage.ts'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const key = Buffer.from('key')
const wait = { cold: 'wait' } as const
const names = ['default', 'a', 'b', 'c']

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** Four namespaces that hold their own name, each with a closed segment. */
async function filled(): Promise<SimulatedStorage> {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  for (const name of names) {
    await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1)), 'user', { name })
    namespace.put(key, Buffer.from(name))
    namespace.jump()
    await turns(30)
  }
  return storage
}

async function start(
  storage: SimulatedStorage,
  clock = new ManualClock(),
  hooks: Hooks = noHooks,
): Promise<Namespaces> {
  const context = engineContext(storage, prngFromSeed(2), { clock, hooks })
  await finishDrops('/data', context)
  return Namespaces.open({ dataDirectory: '/data', mode: 'user', pinned: new Set() }, context)
}

async function assertServed(namespaces: Namespaces, served: readonly string[]): Promise<void> {
  for (const name of served) assert.equal(String(await namespaces.get(name)!.namespace.get(key, wait)), name)
}

function damage(storage: SimulatedStorage, path: string, change: (bytes: Buffer) => Buffer): void {
  storage.put(path, change(storage.bytesOf(path)))
}

const damages: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  'its header': bytes => {
    bytes[9]! ^= 1
    return bytes
  },
  'nothing left of it': () => Buffer.alloc(0),
  'a record that does not follow from those before it': bytes => {
    const { incarnation } = decodeManifest(bytes)
    return Buffer.concat([bytes, encodeRecord({ type: 'synced', segmentId: 99, syncedBytes: 1 }, incarnation)])
  },
}

for (const [what, change] of Object.entries(damages)) {
  test(`a damaged manifest (${what}) keeps its namespace, and no other`, async () => {
    const storage = await filled()
    damage(storage, '/data/b/manifest', change)
    const before = storage.bytesOf('/data/b/manifest')
    await using namespaces = await start(storage)
    await assertServed(namespaces, ['default', 'a', 'c'])
    assert.throws(
      () => namespaces.get('b'),
      /^SegmentUnavailable: IOERR the namespace cannot be opened: .*\/data\/b\/manifest/,
    )
    await assert.rejects(namespaces.create('b'), /IOERR the namespace cannot be opened/)
    assert.deepEqual(storage.bytesOf('/data/b/manifest'), before, 'it is left for whoever repairs it')
    assert.notEqual(storage.sizeBytes('/data/b/d0'), null)
  })

  test(`the default namespace with a damaged manifest (${what}) is said to be what is damaged`, async () => {
    const storage = await filled()
    damage(storage, '/data/default/manifest', change)
    await assert.rejects(start(storage), /\/data\/default\/manifest/)
  })
}

test('a namespace whose disk does not read it is opened when the disk does; the others are served', async () => {
  const storage = await filled()
  let isBroken = true
  const openAppend = storage.openAppend.bind(storage)
  storage.openAppend = (path): AppendFile => {
    if (isBroken && path === '/data/b/manifest') throw new StorageError(`${path}: EIO`)
    return openAppend(path)
  }
  const clock = new ManualClock()
  await using namespaces = await start(storage, clock)
  await assertServed(namespaces, ['default', 'a', 'c'])
  assert.throws(() => namespaces.get('b'), /IOERR the namespace cannot be opened: \/data\/b\/manifest: EIO/)
  isBroken = false
  for (let second = 0; second < 3; second++) {
    await clock.advance(1_000)
    await turns(30)
  }
  await assertServed(namespaces, names)
})

test('a hint that the disk does not read is made again from its data', async () => {
  const storage = await filled()
  let isBroken = true
  const openRead = storage.openRead.bind(storage)
  storage.openRead = (path): ReadFile => {
    if (isBroken && path === '/data/default/h0') {
      isBroken = false
      throw new StorageError(`${path}: EIO`)
    }
    return openRead(path)
  }
  await using namespaces = await start(storage)
  await assertServed(namespaces, names)
})

test('a drop that finds no room while the server runs is a drop, and is finished later', async () => {
  const storage = await filled()
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed: async () => '00112233445566778899aabbccddeeff' }
  const clock = new ManualClock()
  await using namespaces = await start(storage, clock, hooks)
  await turns(30)
  const { publish } = storage
  storage.publish = async path => {
    throw new StorageError(`${path}: no space`, { full: true })
  }
  await namespaces.drop('b')
  assert.throws(() => namespaces.get('b'), /IOERR the namespace cannot be opened: .*no space/)
  await assertServed(namespaces, ['default', 'a', 'c'])
  storage.publish = publish
  await clock.advance(2_000)
  await turns(30)
  assert.equal(namespaces.get('b'), undefined)
  assert.equal(storage.sizeBytes('/data/b/manifest'), null)
})

test('a drop whose record finds no room is none', async () => {
  const storage = await filled()
  await using namespaces = await start(storage)
  storage.capacityBytes = 0
  await assert.rejects(namespaces.drop('b'), StorageError)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  await assertServed(namespaces, names)
  namespaces.get('b')!.namespace.put(Buffer.from('more'), Buffer.from('value'))
  await namespaces.get('b')!.namespace.sync()
})

test('a drop that finds no room at the start is finished later, and never undone', async () => {
  const storage = await filled()
  const hooks: Hooks = { ...noHooks, configured: true, segmentClosed: async () => '00112233445566778899aabbccddeeff' }
  const context = engineContext(storage, prngFromSeed(3), { hooks })
  const namespace = await openNamespace(context, 'user', { name: 'b' })
  await turns(30)
  assert.equal(namespace.segments()[0]!.state, 'stored')
  let image: SimulatedStorage | null = null
  storage.onOperation = operation => {
    if (operation === 'sync-ended /data/b/manifest') image ??= storage.kill()
  }
  await namespace.drop()
  const cut = image as SimulatedStorage | null
  assert(cut !== null)
  const publish = cut.publish.bind(cut)
  let isFull = true
  cut.publish = async (path, parts) => {
    if (isFull) throw new StorageError(`${path}: no space`, { full: true })
    return publish(path, parts)
  }
  const clock = new ManualClock()
  const deleted: string[] = []
  const watching: Hooks = { ...hooks, segmentDeleted: async ({ objectId }) => void deleted.push(objectId) }
  await using namespaces = await start(cut, clock, watching)
  await assertServed(namespaces, ['default', 'a', 'c'])
  assert.throws(() => namespaces.get('b'), /IOERR the namespace cannot be opened: .*no space/)
  isFull = false
  for (let second = 0; second < 3; second++) {
    await clock.advance(1_000)
    await turns(30)
  }
  assert.equal(namespaces.get('b'), undefined)
  assert.deepEqual(deleted, ['00112233445566778899aabbccddeeff'])
})

test('a directory with nothing in it is what a cut left of a drop: it is no namespace', async () => {
  const storage = await filled()
  storage.makeDirectory('/data/empty')
  await using namespaces = await start(storage)
  assert.equal(namespaces.get('empty'), undefined)
  assert.equal(namespaces.list().length, names.length)
})
