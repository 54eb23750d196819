import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import type { KeyMode, Namespace } from '../src/engine/namespace.ts'
import { contentsOf, digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const histories = 600
const generations = 4

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

/** The contents after each operation, and which of these states the disk is known to have reached. */
class Model {
  readonly contents: Map<string, string>
  readonly states: string[]
  /** States before this one must not be what is found. */
  synced: number
  /** Changes of a batch under way, whose states come once they are known to be written. */
  begun = 0

  constructor(contents: Map<string, string>, states: string[], synced: number) {
    this.contents = contents
    this.states = states
    this.synced = synced
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
  let model = new Model(new Map(), [serialize(new Map())], 0)
  let nextIdSynced = 0
  for (let generation = 0; generation < generations; generation++) {
    const cutAfter = 1 + prng.below(prng.pick([10, 60, 200]))
    const isPowerCut = prng.chance(0.7)
    let image: SimulatedStorage | null = null
    const now = () => {
      return { synced: model.synced, done: model.states.length - 1, begun: model.begun, nextId: nextIdSynced }
    }
    let then = now()
    const operationsBefore = storage.operationCount
    storage.onOperation = () => {
      if (image !== null || storage.operationCount - operationsBefore < cutAfter) return
      image = isPowerCut ? storage.cut(prng) : storage.kill()
      then = now()
    }
    const context = engineContext(storage, prng, { segmentBytesMax: prng.pick([300, 2_000, 20_000]) })
    const namespace = await openNamespace(context, mode)
    // What recovery found it has synced.
    model.synced = model.states.length - 1
    for (let step = 0; image === null && step < 120; step++) {
      nextIdSynced = Math.max(nextIdSynced, await act(namespace, model, prng))
    }
    if (image === null) {
      image = storage.kill()
      then = now()
    }
    nextIdSynced = then.nextId
    storage = image
    storage.makeDirectory('/data')
    // Looked at in a copy: the next generation recovers from the crash itself, and may be cut while it does.
    const found = await openNamespace(engineContext(storage.kill(), prng), mode)
    const contents = await contentsOf(found)
    const state = serialize(contents)
    // What was under way when the cut came may have happened: an operation, or a part of a batch.
    const allowed = model.states.slice(then.synced, then.done + 2 + then.begun)
    const at = allowed.lastIndexOf(state)
    assert(at >= 0, `found is no prefix: ${state.slice(0, 300)} after ${then.done} operations, ${then.synced} synced`)
    if (!isPowerCut) assert(at >= then.done - then.synced, 'kill -9 lost an operation')
    assert.equal(found.info().entries, contents.size)
    const { nextId } = found.info()
    if (mode === 'sequential') {
      for (const key of contents.keys()) assert(Buffer.from(key, 'hex').readUInt32LE(0) < nextId)
      assert(nextId >= then.nextId, `ids from ${nextId} on are given again, up to ${then.nextId} were synced`)
    }
    await found[Symbol.asyncDispose]()
    model = new Model(contents, model.states.slice(0, then.synced + at + 1), then.synced)
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
  } else if (action < 6) {
    await actInOneTurn(namespace, model, prng)
  } else if (action < 9 && contents.size > 0) {
    const key = prng.pick([...contents.keys()])
    namespace.delete(Buffer.from(key, 'hex'))
    contents.delete(key)
    model.did()
  } else {
    const { key, value } = randomPut(isSequential, model, prng)
    const stored = namespace.put(key, value)
    if (stored !== null) {
      contents.set(stored.toString('hex'), digest(value))
      model.did()
    }
  }
  return 0
}

function randomPut(isSequential: boolean, { contents }: Model, prng: Prng): { key: Buffer; value: Buffer } {
  const key = isSequential
    ? prng.chance(0.7) || contents.size === 0
      ? Buffer.alloc(0)
      : Buffer.from(prng.pick([...contents.keys()]), 'hex')
    : Buffer.from(`k${prng.below(12)}`)
  return { key, value: prng.chance(0.1) ? Buffer.alloc(prng.below(6_000)) : prng.bytes(prng.below(200)) }
}

/** Changes that share a write, as far as segments and reads let them. */
async function actInOneTurn(namespace: Namespace, model: Model, prng: Prng): Promise<void> {
  const isSequential = namespace.settings.mode === 'sequential'
  const gone = prng.chance(0.3) && model.contents.size > 0 ? prng.pick([...model.contents.keys()]) : null
  const puts = Array.from({ length: 1 + prng.below(8) }, () => randomPut(isSequential, model, prng)).filter(
    ({ key }) => !isSequential || key.toString('hex') !== gone,
  )
  model.begun = puts.length + (gone === null ? 0 : 1)
  const deleted = gone === null ? undefined : namespace.deleteInBatch(Buffer.from(gone, 'hex'))
  const stored = puts.map(({ key, value }) => namespace.putInBatch(key, value))
  if (prng.chance(0.3)) namespace.info()
  await deleted
  if (gone !== null) {
    model.contents.delete(gone)
    model.did()
  }
  for (const [i, key] of (await Promise.all(stored)).entries()) {
    if (key === null) continue
    model.contents.set(key.toString('hex'), digest(puts[i]!.value))
    model.did()
  }
  model.begun = 0
}
