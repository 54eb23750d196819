import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { noHooks } from '../src/engine/hooks/hooks.ts'
import type { KeyMode, Namespace } from '../src/engine/namespace.ts'
import { CacheFull } from '../src/errors.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'
import { SimulatedStore } from './simulated-store.ts'

const histories = 120
const generations = 5

test(`${histories} histories with compaction, cut at any operation: what survives is a prefix, ids are given once`, async t => {
  const prng = seededPrng(t)
  let compacted = 0
  for (let n = 0; n < histories; n++) {
    const seed = prng.below(2 ** 32)
    try {
      compacted += await runHistory(prngFromSeed(seed))
    } catch (error) {
      throw new Error(`history with seed ${seed}`, { cause: error })
    }
  }
  t.diagnostic(`${compacted} segments compacted`)
  assert(compacted > histories)
})

/** The contents after each operation, and which of these states the disk is known to have reached. */
interface Model {
  /** Values appended so far, those that a crash took too. */
  putCount: number
  readonly contents: Map<string, string>
  readonly states: string[]
  synced: number
  readonly pins: Disposable[]
}

/** @returns how many segments were compacted */
async function runHistory(prng: Prng): Promise<number> {
  const mode: KeyMode = prng.chance(0.5) ? 'user' : 'sequential'
  const store = prng.chance(0.5) ? new SimulatedStore() : null
  let storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  let model: Model = { contents: new Map(), states: [stateOf(new Map())], synced: 0, putCount: 0, pins: [] }
  let nextIdSynced = 0
  let compacted = 0
  for (let generation = 0; generation < generations; generation++) {
    const cutAfter = 1 + prng.below(prng.pick([20, 200, 800]))
    const isPowerCut = prng.chance(0.7)
    let image: SimulatedStorage | null = null
    let then = { synced: model.synced, done: model.states.length - 1, nextId: nextIdSynced }
    slowReads(storage)
    storage.onOperation = () => {
      if (image !== null || storage.operationCount < cutAfter) return
      image = isPowerCut ? storage.cut(prng) : storage.kill()
      then = { synced: model.synced, done: model.states.length - 1, nextId: nextIdSynced }
    }
    const clock = new ManualClock()
    const segmentBytesMax = prng.pick([300, 1_000, 4_000])
    const context = engineContext(storage, prng, {
      clock,
      hooks: store?.hooks(storage, prng, { isAlive: () => image === null }) ?? noHooks,
      segmentBytesMax,
      limitBytes: store !== null && prng.chance(0.5) ? 12 * segmentBytesMax : 0,
      compactBelow: prng.pick([0.5, 0.9]),
      compactBytesPerSecond: prng.pick([0, 20_000]),
    })
    const namespace = await openNamespace(context, mode)
    model.synced = model.states.length - 1
    for (let step = 0; image === null && step < 250; step++) {
      if (store !== null && prng.chance(0.02)) store.isDown = !store.isDown
      nextIdSynced = Math.max(nextIdSynced, await act(namespace, model, prng, clock))
    }
    compacted += namespace.info().compaction.segments
    if (image === null) {
      image = storage.kill()
      then = { synced: model.synced, done: model.states.length - 1, nextId: nextIdSynced }
    }
    nextIdSynced = then.nextId
    storage = image
    storage.makeDirectory('/data')
    if (store !== null) store.isDown = false
    // Looked at in a copy: the next generation recovers from the crash itself, and may be cut while it does.
    const copy = storage.kill()
    const found = await openNamespace(
      engineContext(copy, prng, { hooks: store?.lookingHooks(copy, prng) ?? noHooks }),
      mode,
    )
    const contents = await contentsOf(found)
    const at = model.states.slice(then.synced, then.done + 2).lastIndexOf(stateOf(contents))
    assert(at >= 0, `found is no prefix: ${stateOf(contents)} after ${then.done} operations, ${then.synced} synced`)
    if (!isPowerCut) assert(at >= then.done - then.synced, 'kill -9 lost an operation')
    const { nextId, entries } = found.info()
    assert.equal(entries, contents.size)
    if (mode === 'sequential') {
      for (const key of contents.keys()) assert(Buffer.from(key, 'hex').readUInt32LE(0) < nextId)
      assert(nextId >= then.nextId, `ids from ${nextId} on are given again, up to ${then.nextId} were synced`)
      assert(nextId <= model.putCount + 1, `${nextId} ids, ${model.putCount} were given: copies count as ids`)
    }
    await found[Symbol.asyncDispose]()
    assert.deepEqual(store?.missed ?? [], [], 'objects that are needed were deleted')
    model = { ...model, pins: [], contents, states: model.states.slice(0, then.synced + at + 1), synced: then.synced }
  }
  return compacted
}

/** A read takes a turn of the event loop: others are served meanwhile. */
function slowReads(storage: SimulatedStorage): void {
  const openRead = storage.openRead.bind(storage)
  storage.openRead = path => {
    const file = openRead(path)
    const read = async (offsetBytes: number, lengthBytes: number) => {
      await new Promise(resolve => setImmediate(resolve))
      return file.read(offsetBytes, lengthBytes)
    }
    return { ...file, read }
  }
}

function stateOf(contents: Map<string, string>): string {
  return JSON.stringify([...contents].sort())
}

/** @returns the next id, when a sync made it durable */
async function act(namespace: Namespace, model: Model, prng: Prng, clock: ManualClock): Promise<number> {
  const { contents } = model
  const did = () => model.states.push(stateOf(contents))
  const action = prng.below(20)
  if (action === 0) {
    const covered = model.states.length - 1
    const { nextId } = await namespace.sync()
    model.synced = covered
    return nextId
  }
  if (action === 1) {
    namespace.jump()
  } else if (action < 4) {
    // Time for compaction, and for whoever waits. Not awaited: values change while segments are copied.
    const passing = clock.advance(prng.pick([1_000, 5_000]))
    if (prng.chance(0.5)) await passing
    for (let turn = prng.below(30); turn > 0; turn--) await new Promise(resolve => setImmediate(resolve))
  } else if (action === 4) {
    // Segments that must stay, as for a recovery point.
    if (prng.chance(0.3)) model.pins.push(namespace.cut())
    else for (const pin of model.pins.splice(0)) pin[Symbol.dispose]()
  } else if (action < 6) {
    await new Promise(resolve => setImmediate(resolve))
  } else if (action < 11 && contents.size > 0) {
    const key = prng.pick([...contents.keys()])
    try {
      namespace.delete(Buffer.from(key, 'hex'))
      contents.delete(key)
      did()
    } catch (error) {
      if (!(error instanceof CacheFull)) throw error
    }
  } else {
    const isNew = prng.chance(0.7) || contents.size === 0
    const key =
      namespace.settings.mode === 'user'
        ? Buffer.from(`k${prng.below(12)}`)
        : isNew
          ? Buffer.alloc(0)
          : Buffer.from(prng.pick([...contents.keys()]), 'hex')
    const value = prng.bytes(prng.pick([10, 10, 10, prng.below(200)]))
    try {
      const stored = namespace.put(key, value)
      if (stored === null) return 0
      model.putCount++
      contents.set(stored.toString('hex'), digest(value))
      did()
    } catch (error) {
      if (!(error instanceof CacheFull)) throw error
    }
  }
  return 0
}
