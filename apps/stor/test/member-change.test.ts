import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { seededPrng } from '@qsfs/testkit/prng'
import { nextPlaces } from '../src/identity/member-change.ts'
import { Refill } from '../src/identity/refill.ts'
import { SUPERBLOCK_KEY } from '../src/metadata/member-backend.ts'
import type { MetaStore } from '../src/metadata/meta-store.ts'
import { Crash, IdentityRig, type Opened } from './identity-rig.ts'

const four = ['m1', 'm2', 'm3', 'm4']
const keyOf = (i: number) => Buffer.from(`o${String(i).padStart(16, '0')}`)

async function put({ meta }: Opened, from: number, to: number) {
  for (let i = from; i < to; i++) await meta.put(keyOf(i), () => Buffer.from(`record ${i}`))
}

async function assertAll({ meta }: Opened, count: number) {
  assert.strictEqual((await meta.list()).length, count)
  for (let i = 0; i < count; i++) assert.strictEqual((await meta.get(keyOf(i)))?.bytes.toString(), `record ${i}`)
}

function refillOf(rig: IdentityRig, { identity, meta }: Opened, records: Pick<MetaStore, 'list' | 'widen'> = meta) {
  const fleet = { isMetaDown: (name: string) => rig.disks.gone.has(name) }
  return new Refill(identity, records, fleet, randomBytes, silentLog)
}

const fill = (rig: IdentityRig, opened: Opened) => refillOf(rig, opened).run()

async function storeWith(stack: AsyncDisposableStack, count: number, names = four) {
  const rig = await IdentityRig.make(stack)
  await put(await rig.open(names), 0, count)
  return rig
}

describe('places', () => {
  test('who joins takes the place of who leaves, a free one, or a new one', () => {
    assert.strictEqual(nextPlaces(['a', '', 'b'], ['b', 'a']), null)
    assert.deepStrictEqual(nextPlaces(['a', 'b', 'c'], ['a', 'x', 'c']), ['a', 'x', 'c'])
    assert.deepStrictEqual(nextPlaces(['a', 'b', 'c'], ['a', 'c']), ['a', '', 'c'])
    assert.deepStrictEqual(nextPlaces(['a', '', 'c'], ['a']), ['a'])
    assert.deepStrictEqual(nextPlaces(['a', '', 'c'], ['x', 'c', 'a']), ['a', 'x', 'c'])
    assert.deepStrictEqual(nextPlaces(['a', 'b'], ['a', 'b', 'x']), ['a', 'b', 'x'])
    for (const two of [['a', 'x', 'y'], ['a'], ['a', 'b', 'c', 'x', 'y']]) {
      assert.throws(() => nextPlaces(['a', 'b', 'c'], two), { reason: 'refused', message: /one at a time/ })
    }
  })
})

describe('a metadata backend', () => {
  test('is replaced: by one that is silent until it holds everything', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await storeWith(stack, 5)
    const opened = await rig.open(['m1', 'x', 'm3', 'm4'])
    assert.strictEqual(opened.identity.superblock.memberSet, 2)
    assert.strictEqual(opened.members[1]!.blank, true)
    await put(opened, 5, 7)
    await assertAll(opened, 7)
    await fill(rig, opened)
    assert.strictEqual(opened.members[1]!.blank, false)
    // It carries its part: two others may go.
    rig.disks.gone.add('m1')
    await assertAll(await rig.open(['m1', 'x', 'm3', 'm4']), 7)
  })

  test('a dead one is replaced, too, and the one that was put in its place by another', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await storeWith(stack, 4)
    rig.disks.gone.add('m2')
    await put(await rig.open(four), 4, 6)
    await rig.open(['m1', 'x', 'm3', 'm4'])
    const opened = await rig.open(['m1', 'y', 'm3', 'm4'])
    assert.strictEqual(opened.identity.superblock.memberSet, 3)
    await fill(rig, opened)
    rig.disks.gone.add('m4')
    await assertAll(await rig.open(['m1', 'y', 'm3', 'm4']), 6)
  })

  test('is added and removed; its place stays free for the next', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await storeWith(stack, 4)
    const five = await rig.open([...four, 'm5'])
    await put(five, 4, 6)
    await fill(rig, five)
    await assertAll(five, 6)
    const without2 = await rig.open(['m1', 'm3', 'm4', 'm5'])
    assert.deepStrictEqual(without2.identity.superblock.members, ['m1', '', 'm3', 'm4', 'm5'])
    await put(without2, 6, 8)
    rig.disks.gone.add('m1')
    await assertAll(without2, 8)
    rig.disks.gone.clear()
    const again = await rig.open(['m1', 'x', 'm3', 'm4', 'm5'])
    assert.deepStrictEqual(again.identity.superblock.members, ['m1', 'x', 'm3', 'm4', 'm5'])
    await fill(rig, again)
    rig.disks.gone.add('m4').add('m5')
    await assertAll(await rig.open(['m1', 'x', 'm3', 'm4', 'm5']), 8)
  })

  test('leaves only when the others hold every record between them', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const opened = await rig.open(four)
    rig.disks.gone.add('m1')
    await put(opened, 0, 3)
    // m1 has none of them: m2 may leave when m1 was given its part, and not while m3 is silent.
    rig.disks.gone.clear()
    rig.disks.gone.add('m3')
    await assert.rejects(rig.open(['m1', 'm3', 'm4']), { reason: 'unavailable' })
    rig.disks.gone.clear()
    const three = await rig.open(['m1', 'm3', 'm4'])
    rig.disks.gone.add('m4')
    await assertAll(three, 3)
  })

  test('the next change waits until the last one is filled', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await storeWith(stack, 3)
    await rig.open(['m1', 'x', 'm3', 'm4'])
    await assert.rejects(rig.open(['m1', 'x', 'y', 'm4']), {
      reason: 'refused',
      message: /x does not hold all records yet/,
    })
    await fill(rig, await rig.open(['m1', 'x', 'm3', 'm4']))
    await assertAll(await rig.open(['m1', 'x', 'y', 'm4']), 3)
  })

  test('that goes away again and again is filled nevertheless', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await storeWith(stack, 40)
    const opened = await rig.open(['m1', 'x', 'm3', 'm4'])
    let widened = 0
    const widen: MetaStore['widen'] = async (key, options) => {
      if (++widened % 15 === 0) rig.disks.gone.add('x')
      return await opened.meta.widen(key, options)
    }
    const refill = refillOf(rig, opened, { list: options => opened.meta.list(options), widen })
    let runs = 0
    for (; runs < 10 && opened.members[1]!.blank; runs++) {
      await refill.run().catch(error => assert.match(error.message, /went away while it was being filled/))
      rig.disks.gone.clear()
    }
    assert.strictEqual(opened.members[1]!.blank, false)
    assert.ok(runs > 1)
    rig.disks.gone.add('m1')
    await assertAll(await rig.open(['m1', 'x', 'm3', 'm4']), 40)
  })

  test('that loses what it was given while it is filled is filled from the start', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await storeWith(stack, 20)
    const opened = await rig.open(['m1', 'x', 'm3', 'm4'])
    let widened = 0
    const widen: MetaStore['widen'] = async (key, options) => {
      const committed = await opened.meta.widen(key, options)
      if (++widened === 10) rig.disks.wipe('x')
      return committed
    }
    const refill = refillOf(rig, opened, { list: options => opened.meta.list(options), widen })
    await assert.rejects(refill.run(), { message: /x lost what it was given/ })
    assert.strictEqual(opened.members[1]!.blank, true)
    await refill.run()
    rig.disks.gone.add('m1')
    await assertAll(await rig.open(['m1', 'x', 'm3', 'm4']), 20)
  })

  test('is filled where every member must confirm, too', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const options = { dataShards: 1 }
    await put(await rig.open(['m1', 'm2'], options), 0, 3)
    rig.disks.wipe('m2')
    const opened = await rig.open(['m1', 'm2'], options)
    await put(opened, 3, 4)
    await fill(rig, opened)
    rig.disks.gone.add('m1')
    await assert.rejects(
      rig.open(['m1', 'm2'], options).then(again => put(again, 4, 5)),
      { reason: 'unavailable' },
    )
    await assertAll(await rig.open(['m1', 'm2'], options), 4)
  })

  test('that was a member and holds old records does not come back', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await storeWith(stack, 3)
    await fill(rig, await rig.open(['m1', 'x', 'm3', 'm4']))
    await assert.rejects(rig.open(four), { reason: 'refused', message: /m2 is to become .* not empty/ })
  })

  test('a crash after any write of a change leaves one of the two sets, and all records', async t => {
    const random = seededPrng(t)
    for (const next of [
      ['m1', 'x', 'm3', 'm4'],
      [...four, 'x'],
      ['m1', 'm3', 'm4'],
    ]) {
      let crashes = 0
      for (let writes = 0; writes < 30; writes += 1 + random.below(3)) {
        await using stack = new AsyncDisposableStack()
        const rig = await storeWith(stack, 3)
        rig.disks.writesLeft = writes
        try {
          await fill(rig, await rig.open(next))
        } catch (error) {
          if (!(error instanceof Crash)) throw error
          crashes++
        }
        rig.disks.writesLeft = Number.POSITIVE_INFINITY
        const opened = await rig.open(next)
        await assertAll(opened, 3)
        await fill(rig, opened)
        const copies = await Promise.all(opened.members.map(member => member.peek(SUPERBLOCK_KEY)))
        assert.ok(copies.every(copy => copy?.equals(copies[0]!)))
        rig.disks.gone.add(random.pick(next))
        await assertAll(await rig.open(next), 3)
      }
      assert.ok(crashes > 0)
    }
  })
})
