import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { digest } from './engine-fixture.ts'
import { PointStore, readPoint, restored } from './point-store.ts'
import { type SocketlessClient, SocketlessServer } from './session-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const histories = 15
const generations = 3
const names = ['data', 'meta'] as const
type State = Record<(typeof names)[number], ReadonlyMap<string, string>>

test(`${histories} histories, cut at any operation: every point that is told existed in one instant`, async t => {
  const prng = seededPrng(t)
  const told = { count: 0, resumed: 0, compacted: 0 }
  for (let n = 0; n < histories; n++) {
    const seed = prng.below(2 ** 32)
    try {
      await runHistory(prngFromSeed(seed), told)
    } catch (error) {
      throw new Error(`history with seed ${seed}`, { cause: error })
    }
  }
  t.diagnostic(`${told.count} points told, ${told.resumed} of them by a start, ${told.compacted} segments compacted`)
  assert(told.count > histories)
})

/** Everything that was ever true, in order, and which of it a point may hold. */
class Past {
  readonly states: string[] = []
  /** By point number: it is one of the states from here on, up to there. */
  readonly allowed = new Map<number, { readonly from: number; readonly to: number }>()
  /** What a point held when it was told; it never holds anything else. */
  readonly found = new Map<number, string>()
  published = 0

  did(state: State): void {
    this.states.push(serialize(state))
  }

  get last(): number {
    return this.states.length - 1
  }

  /** A restart forgets points without a file, and gives their numbers again. */
  forgetBeyond(number: number): void {
    for (const asked of [...this.allowed.keys()]) if (asked > number) this.allowed.delete(asked)
  }

  told(number: number, found: string): void {
    const { from, to } = this.allowed.get(number) ?? assert.fail(`nobody asked for point ${number}`)
    assert(this.states.slice(from, to + 1).includes(found), `point ${number} never existed between ${from} and ${to}`)
    assert.equal(this.found.get(number) ?? found, found)
    this.found.set(number, found)
    assert(number >= this.published, `point ${number} was told after ${this.published} was published`)
  }
}

async function readValue(client: SocketlessClient, name: string, key: string): Promise<string | null> {
  assert.equal(await client.ask('SELECT', name), '+OK')
  const reply = await client.ask('GET', key)
  return reply === '$-1' ? null : reply.slice(1)
}

/** Keys and values as `restored` shows them. */
function asRestored(state: State): State {
  const shown = (values: ReadonlyMap<string, string>) =>
    new Map([...values].map(([key, value]) => [Buffer.from(key).toString('hex'), digest(Buffer.from(value))]))
  return { data: shown(state.data), meta: shown(state.meta) }
}

function serialize(state: State): string {
  return JSON.stringify(names.map(name => [...state[name]].sort()))
}

async function runHistory(prng: Prng, told: { count: number; resumed: number; compacted: number }): Promise<void> {
  const past = new Past()
  let storage = new SimulatedStorage()
  {
    await using server = await SocketlessServer.start({ storage })
    for (const name of names) await server.client().ask('NSNEW', name)
  }
  for (let generation = 0; generation < generations; generation++) {
    const disk = storage
    const store = new PointStore()
    const options = { seed: prng.below(2 ** 32), compactBelow: prng.pick([0, 0.9]) }
    const server = await SocketlessServer.start({ storage: disk, hooks: store.hooks, ...options })
    const { points } = server.state
    let image: SimulatedStorage | null = null
    const readsBack = async (path: string) => {
      const { number, namespaces } = readPoint(disk, path)
      const parts = new Map<string, ReadonlyMap<string, string>>()
      for (const part of namespaces) parts.set(part.name, await restored(disk, part))
      const found = serialize({ data: parts.get('data')!, meta: parts.get('meta')! })
      // After the crash nobody hears of what the dead server does.
      if (image === null) past.told(number, found)
      told.count++
    }
    const failures: unknown[] = []
    store.onTold = path => readsBack(path).catch(error => void failures.push(error))
    // What a start begins by itself.
    if (points.status.underWay > 0) told.resumed++
    assert(points.status.published >= past.published, 'a published point is forgotten')
    past.forgetBeyond(Math.max(points.status.published, points.status.underWay))
    const client = server.client()
    const state = { data: new Map<string, string>(), meta: new Map<string, string>() }
    for (const name of names) {
      for (let key = 0; key < 8; key++) {
        const value = await readValue(client, name, `k${key}`)
        if (value !== null) state[name].set(`k${key}`, value)
      }
    }
    past.did(asRestored(state))
    await server.pass(1_000)

    const cutAfter = disk.operationCount + 1 + prng.below(prng.pick([40, 200, 600]))
    const isPowerCut = prng.chance(0.6)
    disk.onOperation = () => {
      if (image === null && disk.operationCount >= cutAfter) image = isPowerCut ? disk.cut(prng) : disk.kill()
    }
    for (let step = 0; image === null && step < 60; step++) {
      past.published = points.status.published
      await act(server, client, store, past, state, prng)
    }
    if (failures.length > 0) throw failures[0]
    for (const { namespace } of server.state.namespaces.list()) told.compacted += namespace.info().compaction.segments
    disk.onOperation = () => {}
    image ??= disk.kill()
    storage = image
    await server[Symbol.asyncDispose]()
  }
}

async function act(
  server: SocketlessServer,
  client: SocketlessClient,
  store: PointStore,
  past: Past,
  state: Record<(typeof names)[number], Map<string, string>>,
  prng: Prng,
): Promise<void> {
  const action = prng.below(12)
  if (action === 0) store.isUp = !store.isUp
  else if (action === 1) store.exitCode = store.exitCode === 0 ? 1 : 0
  else if (action === 2) await server.pass(prng.pick([300, 5_000, 100_000]))
  else if (action < 5) {
    const { underWay, isNextOwed } = server.state.points.status
    const from = past.last
    const number = Number(/^\[:(\d+) /.exec(await client.ask('POINT', 'data', 'meta'))?.[1])
    // Given at once: of exactly now. Owed: of any later moment. The last one again: nothing has changed since.
    if (underWay === 0 && !past.allowed.has(number)) past.allowed.set(number, { from, to: from })
    else if (underWay === 0) past.allowed.set(number, { from: past.allowed.get(number)!.from, to: from })
    else if (!isNextOwed) past.allowed.set(number, { from, to: Number.POSITIVE_INFINITY })
  } else {
    const name = prng.pick(names)
    const key = `k${prng.below(8)}`
    await client.ask('SELECT', name)
    if (state[name].has(key) && prng.chance(0.5)) {
      await client.ask('DEL', key)
      state[name].delete(key)
    } else {
      const value = prng.bytes(prng.below(300)).toString('hex')
      await client.ask('SET', key, value)
      state[name].set(key, value)
    }
    past.did(asRestored(state))
  }
}
