import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import type { KeyMode, Namespace } from '../src/engine/namespace.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const histories = 1_000
const generations = 3

test(`${histories} histories, cut at any operation: what survives is a prefix, with all that was synced`, async t => {
  const prng = seededPrng(t)
  for (let n = 0; n < histories; n++) {
    const seed = prng.below(2 ** 32)
    try {
      await runHistory(prngFromSeed(seed))
    } catch (error) {
      throw new Error(`history with seed ${seed}`, { cause: error })
    }
  }
})

/** The contents after each operation, since the last crash. */
class Model {
  readonly states: string[]
  readonly contents: Map<string, string>
  /** States before this one must not be what is found. */
  synced = 0

  constructor(contents: Map<string, string>) {
    this.contents = contents
    this.states = [serialize(contents)]
  }

  did(): void {
    this.states.push(serialize(this.contents))
  }
}

function serialize(contents: Map<string, string>): string {
  return JSON.stringify([...contents].sort())
}

async function runHistory(prng: Prng): Promise<void> {
  const mode: KeyMode = prng.chance(0.5) ? 'user' : 'sequential'
  let storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  let model = new Model(new Map())
  let nextIdSynced = 0
  for (let generation = 0; generation < generations; generation++) {
    const cutAfter = 1 + prng.below(prng.pick([10, 60, 200]))
    const isPowerCut = prng.chance(0.7)
    let image: SimulatedStorage | null = null
    let syncedThen = 0
    let doneThen = 0
    const operationsBefore = storage.operationCount
    storage.onOperation = () => {
      if (image !== null || storage.operationCount - operationsBefore < cutAfter) return
      image = isPowerCut ? storage.cut(prng) : storage.kill()
      syncedThen = model.synced
      doneThen = model.states.length - 1
    }
    const context = engineContext(storage, prng, { segmentBytesMax: prng.pick([300, 2_000, 20_000]) })
    let namespace: Namespace | null = null
    if (generation === 0 || image === null) namespace = await openNamespace(context, mode)
    for (let step = 0; image === null && step < 120 && namespace !== null; step++) {
      nextIdSynced = Math.max(nextIdSynced, await act(namespace, model, prng))
    }
    image ??= storage.kill()
    if (syncedThen === 0 && doneThen === 0) [syncedThen, doneThen] = [model.synced, model.states.length - 1]
    storage = image
    storage.makeDirectory('/data')
    const found = await openNamespace(engineContext(storage, prng), mode)
    const contents = await contentsOf(found)
    const state = serialize(contents)
    // The operation under way when the cut came may have happened.
    const allowed = model.states.slice(syncedThen, doneThen + 2)
    const at = allowed.lastIndexOf(state)
    assert(at >= 0, `found is no prefix: ${state.slice(0, 300)} after ${doneThen} operations, ${syncedThen} synced`)
    if (!isPowerCut) assert(at >= allowed.length - 2, 'kill -9 lost an operation')
    assert.equal(found.info().entries, contents.size)
    if (mode === 'sequential')
      for (const key of contents.keys()) assert(Buffer.from(key, 'hex').readUInt32LE(0) < found.info().nextId)
    await found[Symbol.asyncDispose]()
    model = new Model(contents)
  }
}

/** @returns the next id, when a sync made it durable */
async function act(namespace: Namespace, model: Model, prng: Prng): Promise<number> {
  const { contents } = model
  const isSequential = namespace.settings.mode === 'sequential'
  const action = prng.below(20)
  if (action === 0) {
    const covered = model.states.length - 1
    const { nextId } = await namespace.sync()
    model.synced = covered
    return nextId
  }
  if (action === 1) {
    // Not awaited: writes go on while it is under way.
    const covered = model.states.length - 1
    void namespace.sync().then(() => {
      model.synced = Math.max(model.synced, covered)
    })
  } else if (action === 2) {
    namespace.jump()
  } else if (action === 3) {
    await new Promise(resolve => setImmediate(resolve))
  } else if (action < 8 && contents.size > 0) {
    const key = prng.pick([...contents.keys()])
    namespace.delete(Buffer.from(key, 'hex'))
    contents.delete(key)
    model.did()
  } else {
    const key = isSequential
      ? prng.chance(0.7) || contents.size === 0
        ? Buffer.alloc(0)
        : Buffer.from(prng.pick([...contents.keys()]), 'hex')
      : Buffer.from(`k${prng.below(12)}`)
    const value = prng.chance(0.1) ? Buffer.alloc(prng.below(6_000)) : prng.bytes(prng.below(200))
    const stored = namespace.put(key, value)
    if (stored !== null) {
      contents.set(stored.toString('hex'), digest(value))
      model.did()
    }
  }
  return 0
}
