import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { KeyRing } from '@qsfs/crypto/keys'
import { silentLog } from '@qsfs/telemetry/log'
import { seededPrng } from '@qsfs/testkit/prng'
import type { RecordBackend } from '../backend/backend.ts'
import { MemoryRecordBackend } from '../backend/memory-backend.ts'
import { StorError } from '../errors.ts'
import { MetaStore, type PutContext } from './meta-store.ts'

/** A metadata backend that can be taken away, hang, or be told to lie. */
class Faulty implements RecordBackend {
  readonly inner: MemoryRecordBackend
  state: 'up' | 'gone' | 'hangs' = 'up'
  knownDown = false
  /** Reads, and takes no writes. */
  refuses = false
  /** Applied to what it answers. */
  lie: (value: Buffer) => Buffer | null = value => value

  constructor(name: string) {
    this.inner = new MemoryRecordBackend(name)
  }
  get name() {
    return this.inner.name
  }
  async #pass<T>(action: () => Promise<T>): Promise<T> {
    if (this.state === 'gone') throw new StorError('unavailable', `${this.name} is gone`)
    if (this.state === 'hangs') return new Promise(() => undefined)
    return action()
  }
  set = (key: Uint8Array, bytes: Uint8Array) =>
    this.#pass(async () => {
      if (this.refuses) throw new StorError('full', `${this.name} is full`)
      await this.inner.set(key, bytes)
    })
  get = (key: Uint8Array) =>
    this.#pass(async () => {
      const value = await this.inner.get(key)
      return value === null ? null : this.lie(value)
    })
  remove = (key: Uint8Array) => this.#pass(() => this.inner.remove(key))
  stat = () => this.#pass(() => this.inner.stat())
  async *list(): AsyncIterable<readonly Buffer[]> {
    await this.#pass(async () => undefined)
    yield* this.inner.list()
  }
  async [Symbol.asyncDispose]() {}
}

const keys = KeyRing.fresh(randomBytes)

test('what only a bug can break is no silence', async () => {
  const members = [1, 2, 3, 4].map(i => new Faulty(`m${i}`))
  const meta = storeOf(members)
  await meta.put(key, text('x'))
  members[1]!.lie = () => {
    throw new TypeError('a bug')
  }
  await assert.rejects(meta.put(key, text('y')), TypeError)
})
const key = Buffer.from('o0123456789abcdef')
const text = (value: string) => () => Buffer.from(value)

/** The short limits only where a test lets them pass: everywhere else nothing may depend on how busy the machine is. */
function storeOf(
  members: readonly Faulty[],
  ring = keys,
  { answerWithinMs = 20_000, settleWithinMs = 20_000, heard = [] as string[] } = {},
) {
  return new MetaStore(
    members.map((backend, place) => {
      const lacks = (what: string) => heard.push(`${backend.name} ${what}`)
      return { backend, place, isDown: () => backend.knownDown, lacks }
    }),
    ring,
    systemClock,
    randomBytes,
    silentLog,
    { dataShards: 2, memberSet: 1, epoch: 1, answerWithinMs, settleWithinMs },
  )
}
const membersOf = (n: number) => Array.from({ length: n }, (_, i) => new Faulty(`m${i}`))
const textOf = async (store: MetaStore) => (await store.get(key))?.bytes.toString() ?? null

describe('the metadata store', () => {
  test('an attempt that only silent members hold never stands before a later write', async () => {
    // 2+4: two members alone make a record of two shards, and a writer may go on without them.
    for (let round = 0; round < 8; round++) {
      const members = membersOf(6)
      const store = storeOf(members)
      await store.put(key, text('first'))
      const others = members.slice(0, 4)
      for (const member of others) member.refuses = true
      await assert.rejects(storeOf(members, keys, { answerWithinMs: 50, settleWithinMs: 60 }).put(key, text('lost')))
      for (const member of others) member.refuses = false
      for (const member of members.slice(4)) Object.assign(member, { state: 'gone', knownDown: true })
      await store.put(key, text('committed'))
      for (const member of members) Object.assign(member, { state: 'up', knownDown: false })
      assert.strictEqual(await textOf(store), 'committed', `round ${round}`)
    }
  })

  test('keeps, replaces, lists and forgets a record', async () => {
    const members = membersOf(6)
    const store = storeOf(members)
    assert.strictEqual(await textOf(store), null)
    const first = await store.put(key, text('one'))
    assert.strictEqual(first?.confirmed.length, 6)
    const contexts: PutContext[] = []
    const second = await store.put(key, context => {
      contexts.push(context)
      return Buffer.from('two')
    })
    assert.ok(second!.generation.counter > first.generation.counter)
    assert.strictEqual(contexts[0]?.previous?.toString(), 'one')
    assert.strictEqual(await textOf(store), 'two')
    assert.strictEqual(await store.put(key, () => null), null)
    assert.deepStrictEqual(await store.list(), [key])
    assert.strictEqual(await store.forget(key), true)
    assert.strictEqual(await textOf(store), null)
    assert.deepStrictEqual(await store.list(), [])
    assert.strictEqual(await store.forget(key), true)
  })

  test('reads and writes with n - W members lost, whether the monitor knows it or not', async () => {
    const members = membersOf(6)
    const store = storeOf(members, keys, { settleWithinMs: 300 })
    await store.put(key, text('one'))
    for (const member of members.slice(0, 2)) member.state = 'gone'
    assert.strictEqual(await textOf(store), 'one')
    // Not called down yet: the write is committed but not at full width, so it is not acknowledged.
    await assert.rejects(store.put(key, text('two')), { reason: 'unavailable' })
    assert.strictEqual(await textOf(store), 'two')
    for (const member of members.slice(0, 2)) member.knownDown = true
    const committed = await store.put(key, text('three'))
    assert.deepStrictEqual(committed?.owed, ['m0', 'm1'])
    assert.strictEqual(await textOf(store), 'three')
    // They come back: catch-up brings the newest to all.
    for (const member of members) Object.assign(member, { state: 'up', knownDown: false })
    assert.deepStrictEqual((await store.widen(key))?.owed, [])
    for (const member of members.slice(2, 6)) member.state = 'gone'
    assert.strictEqual((await store.getAny(key))?.bytes.toString(), 'three')
    await assert.rejects(store.get(key), { reason: 'unavailable' })
  })

  test('a member that hangs delays nobody who can decide without it', async () => {
    const members = membersOf(4)
    const store = storeOf(members)
    await store.put(key, text('one'))
    members[3]!.state = 'hangs'
    assert.strictEqual(await textOf(store), 'one')
    members[3]!.knownDown = true
    assert.deepStrictEqual((await store.put(key, text('two')))?.owed, ['m3'])
  })

  test('refuses to write below the quorum, and leaves the record as it was', async () => {
    const members = membersOf(4)
    const store = storeOf(members)
    await store.put(key, text('one'))
    for (const member of members.slice(0, 2)) Object.assign(member, { state: 'gone', knownDown: true })
    await assert.rejects(store.put(key, text('two')), { reason: 'unavailable' })
    for (const member of members) member.state = 'up'
    assert.strictEqual(await textOf(store), 'one')
  })

  test('a lying backend is worked around: cut, flipped, foreign, old', async () => {
    const members = membersOf(4)
    const store = storeOf(members)
    const other = Buffer.from('oAAAAAAAAAAAAAAAA')
    await store.put(other, text('another record'))
    await store.put(key, text('one'))
    const foreign = await members[0]!.inner.get(Buffer.concat([other, Buffer.of(0)]))
    const old = await members[0]!.inner.get(Buffer.concat([key, Buffer.of(0)]))
    await store.put(key, text('two'))
    const lies: ((value: Buffer) => Buffer | null)[] = [
      value => value.subarray(0, value.length - 1),
      value => Buffer.from(value.map((byte, i) => (i === value.length - 1 ? byte ^ 1 : byte))),
      // A generation from the future, for which it has no key.
      value => Buffer.from(value.map((byte, i) => (i === 24 ? 255 : byte))),
      () => foreign,
      () => old,
      () => Buffer.alloc(3),
      () => null,
    ]
    for (const lie of lies) {
      members[0]!.lie = lie
      assert.strictEqual(await textOf(store), 'two')
    }
    members[0]!.lie = () => Buffer.alloc(0)
    assert.ok((await store.put(key, text('three')))!.generation.counter < Date.now() + 60_000)
  })

  test('another root key is told from damage', async () => {
    const members = membersOf(4)
    await storeOf(members).put(key, text('one'))
    // The shards' own check is keyed too, so a stranger sees nothing but damage; the superblock tells who is a stranger.
    await assert.rejects(storeOf(members, KeyRing.fresh(randomBytes)).get(key), { reason: 'unavailable' })
  })

  test('a member that lost a record is told of when it is written again', async () => {
    const members = membersOf(4)
    const heard: string[] = []
    const store = storeOf(members, keys, { heard })
    await store.put(key, text('one'))
    await members[2]!.inner.remove(Buffer.concat([key, Buffer.of(0)]))
    await store.put(key, text('two'))
    assert.deepStrictEqual(heard, ['m2 lost'])
  })

  test('random histories: a committed record is never lost, and never older', async t => {
    const prng = seededPrng(t)
    for (let history = 0; history < 25; history++) {
      const members = membersOf(prng.pick([4, 6]))
      const store = storeOf(members)
      let acknowledged = 0
      for (let step = 1; step <= 12; step++) {
        const losable = members.length - store.quorum.writeQuorum
        for (const member of members) Object.assign(member, { state: 'up', knownDown: false })
        // Any number may fail a write; a reader misses at most n - W.
        for (const member of members) if (prng.chance(0.3)) Object.assign(member, { state: 'gone', knownDown: true })
        try {
          await store.put(key, text(String(step)))
          acknowledged = step
        } catch (error) {
          assert.ok(error instanceof StorError && error.reason === 'unavailable', String(error))
        }
        for (const member of members) member.state = 'up'
        for (let lost = 0; lost < losable; lost++) prng.pick(members).state = 'gone'
        try {
          const seen = Number((await store.get(key))?.bytes.toString() ?? 0)
          assert.ok(seen >= acknowledged, `history ${history} step ${step}: ${seen} < ${acknowledged}`)
        } catch (error) {
          assert.ok(error instanceof StorError && error.reason === 'unavailable', String(error))
        }
        for (const member of members) member.state = 'up'
        assert.ok(Number((await store.get(key))?.bytes.toString() ?? 0) >= acknowledged)
      }
    }
  })
})
