import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../../src/engine/hooks/hooks.ts'
import { encodeId } from '../../src/engine/keydir/keydir-sequential.ts'
import { type KeyMode, Namespace } from '../../src/engine/namespace.ts'
import { Namespaces } from '../../src/engine/namespaces.ts'
import { SegmentUnavailable } from '../../src/errors.ts'
import { FormatError } from '../../src/segment/format.ts'
import { contentsOf, digest, engineContext, settingsOf } from '../engine-fixture.ts'
import { SimulatedStorage } from '../simulated-storage.ts'
import { freshDescriptor, sequentialNamespace, userNamespace, vaultDescriptor } from './golden.ts'

type Files = Readonly<Record<string, Buffer>>

const wait = { cold: 'wait' } as const
const key = (text: string) => Buffer.from(text)

/** The roots of 0-db with one namespace `ns`: its d files in /data, all else in /index. */
function disk(files: Files): SimulatedStorage {
  const storage = new SimulatedStorage()
  for (const directory of ['/data', '/data/ns', '/index', '/index/ns']) storage.makeDirectory(directory)
  for (const [name, bytes] of Object.entries(files))
    storage.put(`${/^d\d/.test(name) ? '/data' : '/index'}/ns/${name}`, bytes)
  return storage
}

interface Told {
  readonly indexRoot?: string | null
  readonly mode?: KeyMode | null
  readonly hooks?: Hooks
}

function open(storage: SimulatedStorage, { indexRoot = '/index', mode = null, hooks = noHooks }: Told = {}) {
  const context = engineContext(storage, prngFromSeed(storage.operationCount), { hooks })
  const options = { pinned: false, zdb: { indexRoot, mode } }
  return Namespace.open('ns', '/data/ns', settingsOf(mode ?? 'user'), options, context)
}

async function shown(namespace: Namespace): Promise<Readonly<Record<string, string>>> {
  return Object.fromEntries(await contentsOf(namespace))
}

const hex = (text: string) => key(text).toString('hex')
const userContents = { [hex('k')]: digest(key('x')), [hex('n')]: digest(key('yz')) }
const sequentialContents = {
  [encodeId(0).toString('hex')]: digest(key('ZERO2')),
  [encodeId(3).toString('hex')]: digest(key('three')),
}

test('user mode: keys, timestamps, deletions and settings are as 0-db had them, its files untouched', async () => {
  const files = { ...userNamespace, 'zdb-namespace': vaultDescriptor }
  const storage = disk(files)
  for (let start = 0; start < 2; start++) {
    await using namespace = await open(storage)
    assert.deepEqual(await shown(namespace), userContents)
    assert.deepEqual(namespace.stat(key('n'))!.timestampSeconds, 1700000005)
    assert.equal(namespace.stat(key('hello')), null)
    const vault = { mode: 'user', maxBytes: 10_000, public: false, worm: true, password: 'secret' }
    assert.deepEqual({ ...namespace.settings }, vault)
  }
  for (const name of ['d1', 'i0', 'i1', 'zdb-namespace'] as const)
    assert.deepEqual(storage.bytesOf(`${name === 'd1' ? '/data' : '/index'}/ns/${name}`), files[name])
})

test('sequential mode: 0-db burns an id per update, and the next id is the same', async () => {
  for (const indexRoot of ['/index', null]) {
    const storage = disk({ ...sequentialNamespace, 'zdb-namespace': freshDescriptor })
    for (let start = 0; start < 2; start++) {
      await using namespace = await open(storage, { indexRoot })
      assert.equal(namespace.settings.mode, 'sequential')
      assert.deepEqual(await shown(namespace), sequentialContents)
      assert.equal(namespace.info().nextId, 4)
    }
    await using namespace = await open(storage, { indexRoot })
    assert.deepEqual(await namespace.put(Buffer.alloc(0), key('new')), encodeId(4))
  }
})

test('the next id is that of the index, whatever data was lost or written twice', async () => {
  const { d0, i0 } = sequentialNamespace
  // 0-db died before it appended to its index, and gave the id again: 2 is burned, 3 was written twice.
  const twice = Buffer.concat([d0.subarray(0, 0x95), d0.subarray(0x76)])
  const again = Buffer.from(i0)
  again.writeUInt32LE(0x95, 0x9b + 1)
  for (const [data, index] of [
    [twice, again],
    [d0.subarray(0, 0x80), i0],
  ] as const) {
    await using namespace = await open(disk({ d0: data, i0: index }))
    assert.equal(namespace.info().nextId, 4)
  }
})

test('a start that was cut off anywhere begins again', async () => {
  const whole = disk({ ...userNamespace, 'zdb-namespace': vaultDescriptor })
  for (const directory of ['/data', '/index']) await whole.syncDirectory(directory)
  const killed: SimulatedStorage[] = []
  whole.onOperation = () => killed.push(whole.kill(), whole.cut(prngFromSeed(killed.length)))
  await (await open(whole))[Symbol.asyncDispose]()
  assert.ok(killed.length > 20)
  for (const storage of killed) {
    await using namespace = await open(storage)
    assert.deepEqual(await shown(namespace), userContents)
    assert.equal(namespace.settings.password, 'secret')
  }
})

test('what 0-db appends to a file that was taken over is kept aside', async () => {
  const storage = disk({ ...userNamespace })
  await (await open(storage))[Symbol.asyncDispose]()
  const more = userNamespace.d1.subarray(0x30)
  storage.put('/data/ns/d1', Buffer.concat([userNamespace.d1, more]))
  await using namespace = await open(storage)
  assert.deepEqual(await shown(namespace), userContents)
  assert.deepEqual(storage.bytesOf('/data/ns/cut-d1-69'), more)
  assert.deepEqual(storage.bytesOf('/data/ns/d1'), userNamespace.d1)
})

test('however long a load takes, nobody is served before it is over', async () => {
  const storage = disk({ ...userNamespace })
  const gate = Promise.withResolvers<void>()
  const publish = storage.publish.bind(storage)
  storage.publish = async (path, parts) => {
    if (path.endsWith('/ns/h0')) await gate.promise
    await publish(path, parts)
  }
  const clock = new ManualClock()
  const options = { dataDirectory: '/data', mode: 'mixed', pinned: new Set<string>(), zdbIndexRoot: '/index' } as const
  let served: Namespaces | null = null
  const opening = Namespaces.open(options, engineContext(storage, prngFromSeed(1), { clock })).then(opened => {
    served = opened
    return opened
  })
  for (let seconds = 0; seconds < 300; seconds += 20) {
    await turns()
    await clock.advance(20_000)
  }
  await turns()
  assert.equal(served, null)
  gate.resolve()
  await using namespaces = await opening
  assert.equal(String(await namespaces.get('ns')!.namespace.get(key('n'), wait)), 'yz')
})

async function turns(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await new Promise(resolve => setImmediate(resolve))
}

test('a tail torn at any byte costs what it tears', async () => {
  const { d0, d1 } = userNamespace
  for (let length = 0; length <= d1.length; length++) {
    await using namespace = await open(disk({ d0, d1: d1.subarray(0, length) }), { indexRoot: null })
    const keys = Object.keys(await shown(namespace)).map(text => Buffer.from(text, 'hex').toString())
    assert.deepEqual(keys, length < 0x30 ? ['k'] : length < d1.length ? ['k'] : ['k', 'n'])
    assert.equal(digest((await namespace.get(key('k'), wait))!), digest(length < 0x30 ? key('') : key('x')))
  }
})

test('a damaged value is not answered, and no older one in its place; what lies behind it is there', async () => {
  const { d0, d1, i0, i1 } = userNamespace
  const damaged = Buffer.from(d1)
  damaged[0x1c + 18 + 1]! ^= 1 // the value x of k
  await using namespace = await open(disk({ d0, d1: damaged, i0, i1 }))
  await assert.rejects(async () => namespace.get(key('k'), wait), SegmentUnavailable)
  assert.equal(String(await namespace.get(key('n'), wait)), 'yz')
})

test('what cannot be taken over as a whole is refused', async () => {
  const { d0, d1, i0, i1 } = userNamespace
  const refused = async (files: Files, told: Told, reason: RegExp) => {
    const storage = disk(files)
    await assert.rejects(open(storage, told), error => error instanceof FormatError && reason.test(error.message))
    assert.equal(storage.sizeBytes('/data/ns/manifest'), null)
  }
  await refused({ d0, i0 }, { mode: 'sequential' }, /mode user, not sequential/)
  await refused({ d0 }, { mode: 'sequential', indexRoot: null }, /mode user, not sequential/)
  await refused({ d1, i0, i1 }, {}, /d0 is missing/)
  await refused({ d0, i0, i1 }, {}, /d1 is missing/)
  await refused({ d0, i0, 'zdb-namespace': vaultDescriptor.subarray(0, 20) }, {}, /\/index\/ns: the descriptor ends/)
  await refused({ d0, i0: Buffer.concat([key('IDX1'), i0.subarray(4)]) }, {}, /does not begin with IDX0/)
  await refused({ d0: Buffer.concat([key('DAT1'), d0.subarray(4)]), i0 }, {}, /d0: the file does not begin with DAT0/)
  await refused({ d0, i0 }, { indexRoot: '/elsewhere' }, /\/elsewhere knows no such namespace/)
})

test('a data file that 0-db moved away is fetched by the hook', async () => {
  const { d0, ...rest } = userNamespace
  const storage = disk(rest)
  const hooks: Hooks = { ...noHooks, segmentMissing: async ({ dataPath }) => storage.put(dataPath, d0) }
  await using namespace = await open(storage, { hooks })
  assert.deepEqual(await shown(namespace), userContents)
  const liar: Hooks = { ...noHooks, segmentMissing: async () => {} }
  await assert.rejects(open(disk(rest), { hooks: liar }), /d0 is missing, and the hook left no file/)
  const failing: Hooks = {
    ...noHooks,
    segmentMissing: async () => {
      throw new HookFailed('exit 7')
    },
  }
  await assert.rejects(open(disk(rest), { hooks: failing }), /d0 is missing.*exit 7/)
})

test('0-db died when it had made an index file and not yet the data file', async () => {
  const { d0, i0, i1 } = userNamespace
  for (const header of [i1.subarray(0, 29), i1.subarray(0, 7), Buffer.alloc(0)]) {
    await using namespace = await open(disk({ d0, i0, i1: header }))
    assert.deepEqual(await shown(namespace), { [hex('k')]: digest(key('')) })
  }
})

test('empty files, in the middle and at the end, and a mode that is told', async () => {
  const header = (id: number) => Buffer.concat([userNamespace.d0.subarray(0, 24), Buffer.from([id, 0, 0, 0])])
  const files = { d0: sequentialNamespace.d0, d1: header(1), d2: Buffer.alloc(0), d3: header(3) }
  await using told = await open(disk(files), { indexRoot: null, mode: 'user' })
  assert.equal(told.settings.mode, 'user')
  assert.deepEqual(await shown(told), sequentialContents)
  await using found = await open(disk(files), { indexRoot: null })
  assert.equal(found.settings.mode, 'sequential')
  assert.equal(found.info().nextId, 4)
  await using empty = await open(disk({ d0: header(0), i0: sequentialNamespace.i0.subarray(0, 29) }))
  assert.equal(empty.settings.mode, 'sequential')
})

test('roots of 0-db with any damage are opened or refused', async t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 400; round++) {
    const files: Record<string, Buffer> = { ...prng.pick<Files>([userNamespace, sequentialNamespace]) }
    files['zdb-namespace'] = freshDescriptor
    for (let hits = prng.below(3); hits >= 0; hits--) {
      const name = prng.pick(Object.keys(files))
      const bytes = Buffer.from(files[name]!)
      if (bytes.length > 0) bytes[prng.below(bytes.length)]! ^= 1 << prng.below(8)
      files[name] = prng.chance(0.3) ? bytes.subarray(0, prng.below(bytes.length + 1)) : bytes
    }
    try {
      await using namespace = await open(disk(files), { indexRoot: prng.chance(0.5) ? '/index' : null })
      for (const { key } of (await namespace.scan(null, 1_000))?.entries ?? []) {
        const value = await Promise.resolve(namespace.get(key, wait)).catch(error => {
          assert.ok(error instanceof SegmentUnavailable, String(error))
          return null
        })
        const written = ['world', 'WORLD2', '', 'x', 'yz', 'zero', 'one', 'ZERO2', 'three']
        assert.ok(value === null || written.includes(String(value)), String(value))
      }
      // A damaged id must not use up all others.
      assert.ok(namespace.info().nextId < 100, `${namespace.info().nextId}`)
    } catch (error) {
      assert.ok(error instanceof FormatError, String(error))
    }
  }
})
