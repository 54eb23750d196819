import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import type { KeyMode, Namespace } from '../src/engine/namespace.ts'
import { FormatError } from '../src/segment/format.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

/** What may lie where a write was torn: nothing, pages that were never written, or what the sectors held before. */
const tears: Readonly<Record<string, (bytes: Buffer, at: number, prng: Prng) => Buffer>> = {
  'the end of the file': (bytes, at) => bytes.subarray(0, at),
  zeros: (bytes, at) => Buffer.concat([bytes.subarray(0, at), Buffer.alloc(bytes.length - at)]),
  garbage: (bytes, at, prng) => Buffer.concat([bytes.subarray(0, at), prng.bytes(bytes.length - at)]),
}

type Contents = ReadonlyMap<string, string>

/** A crashed namespace, with its contents after each operation and where the operation's entry ended. */
interface Crashed {
  readonly storage: SimulatedStorage
  readonly states: readonly { readonly contents: Contents; readonly segmentId: number; readonly endBytes: number }[]
}

/** Values, updates, deletions, several segments; killed with an open segment of which a part was synced. */
async function crashed(
  mode: KeyMode,
  steps: number,
  jumps: readonly number[],
  syncs: readonly number[],
): Promise<Crashed> {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const prng = prngFromSeed(7)
  const namespace = await openNamespace(engineContext(storage, prng), mode)
  const contents = new Map<string, string>()
  const states = [{ contents: new Map(), segmentId: 0, endBytes: 0 }]
  for (let step = 0; step < steps; step++) {
    const keys = [...contents.keys()]
    if (step % 5 === 4) {
      const key = prng.pick(keys)
      namespace.delete(Buffer.from(key, 'hex'))
      contents.delete(key)
    } else {
      const isUpdate = step % 5 === 3
      const key = isUpdate
        ? Buffer.from(prng.pick(keys), 'hex')
        : mode === 'user'
          ? Buffer.from(`key ${step}`)
          : Buffer.alloc(0)
      const value = prng.bytes(step % 4 === 0 ? 0 : 10 + prng.below(30))
      contents.set(namespace.put(key, value)!.toString('hex'), digest(value))
    }
    const { activeSegmentId: segmentId, activeBytes: endBytes } = namespace.info()
    states.push({ contents: new Map(contents), segmentId, endBytes })
    if (syncs.includes(step)) await namespace.sync()
    if (jumps.includes(step)) {
      namespace.jump()
      await namespace.sync()
      for (let turn = 0; turn < 30; turn++) await new Promise(resolve => setImmediate(resolve))
    }
  }
  const image = storage.kill()
  await namespace[Symbol.asyncDispose]()
  return { storage: image, states }
}

function assertContents(found: Contents, expected: Contents): void {
  assert.deepEqual([...found].sort(), [...expected].sort())
}

/** A start on what is found goes on: what it appends is there after the next one, beside what was there. */
async function assertGoesOn(storage: SimulatedStorage, namespace: Namespace, mode: KeyMode, prng: Prng): Promise<void> {
  const before = await contentsOf(namespace)
  const key = namespace.put(mode === 'user' ? Buffer.from('one more') : Buffer.alloc(0), Buffer.from('value'))!
  assert(!before.has(key.toString('hex')), 'an id is given twice')
  await namespace.sync()
  await using after = await openNamespace(engineContext(storage.cut(prng), prng), mode)
  assertContents(await contentsOf(after), new Map([...before, [key.toString('hex'), digest(Buffer.from('value'))]]))
}

for (const mode of ['user', 'sequential'] as const) {
  for (const [rest, tear] of Object.entries(tears)) {
    test(`${mode}: the open segment torn at each byte, then ${rest}: the entries before it, and no other`, async t => {
      const prng = seededPrng(t)
      const { storage, states } = await crashed(mode, 12, [3], [6])
      const { segmentId } = states.at(-1)!
      const path = `/data/ns/d${segmentId}`
      const bytes = storage.bytesOf(path)
      for (let at = 0; at <= bytes.length; at++) {
        const torn = storage.kill()
        const found = tear(bytes, at, prng)
        torn.put(path, found)
        await using namespace = await openNamespace(engineContext(torn, prng), mode)
        // An entry may end in zeros by itself.
        const differsAt = bytes.findIndex((byte, index) => found[index] !== byte)
        const goodBytes = differsAt < 0 ? bytes.length : differsAt
        const whole = states.findLast(state => state.segmentId < segmentId || state.endBytes <= goodBytes)!
        assertContents(await contentsOf(namespace), whole.contents)
        if (at % 16 === 0) await assertGoesOn(torn, namespace, mode, prng)
      }
    })

    test(`${mode}: a hint torn at each byte, then ${rest}: it is made again, and nothing is missing`, async t => {
      const prng = seededPrng(t)
      const { storage, states } = await crashed(mode, 8, [5], [])
      const bytes = storage.bytesOf('/data/ns/h0')
      for (let at = 0; at < bytes.length; at++) {
        const torn = storage.kill()
        torn.put('/data/ns/h0', tear(bytes, at, prng))
        await using namespace = await openNamespace(engineContext(torn, prng), mode)
        assertContents(await contentsOf(namespace), states.at(-1)!.contents)
        assert.deepEqual(torn.bytesOf('/data/ns/h0'), bytes)
      }
    })

    test(`${mode}: the manifest torn at each byte, then ${rest}: a prefix, and no byte of data less`, async t => {
      const prng = seededPrng(t)
      const { storage, states } = await crashed(mode, 14, [2, 5, 8], [10])
      const bytes = storage.bytesOf('/data/ns/manifest')
      const data = storage.list('/data/ns').filter(({ name }) => /^d\d+$/.test(name))
      let opened = 0
      for (let at = 0; at <= bytes.length; at++) {
        const torn = storage.kill()
        torn.put('/data/ns/manifest', tear(bytes, at, prng))
        // Its beginning was published as a whole: without it nothing is known, and nothing is touched.
        const opening = openNamespace(engineContext(torn, prng), mode).catch((error: unknown) => {
          if (!(error instanceof FormatError) || opened > 0) throw error
          return null
        })
        await using namespace = await opening
        if (namespace !== null) opened++
        for (const { name } of data) {
          const kept = [name, `cut-${name}-0`].find(file => torn.sizeBytes(`/data/ns/${file}`) !== null)
          const file = kept === undefined ? Buffer.alloc(0) : torn.bytesOf(`/data/ns/${kept}`)
          const cuts = torn.list('/data/ns').filter(cut => cut.name === `cut-${name}-${file.length}`)
          const whole = Buffer.concat([file, ...cuts.map(cut => torn.bytesOf(`/data/ns/${cut.name}`))])
          assert(whole.length <= 28 || whole.equals(storage.bytesOf(`/data/ns/${name}`)), `${name}, torn at ${at}`)
        }
        if (namespace === null) continue
        const found = JSON.stringify([...(await contentsOf(namespace))].sort())
        assert(
          states.some(({ contents }) => JSON.stringify([...contents].sort()) === found),
          `torn at ${at}: ${found}`,
        )
        if (at === bytes.length) assertContents(await contentsOf(namespace), states.at(-1)!.contents)
        if (at % 16 === 0) await assertGoesOn(torn, namespace, mode, prng)
      }
      assert(opened > bytes.length / 2)
    })
  }
}
