import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { CatchUp } from '../src/identity/catch-up.ts'
import { Presence, PresenceRecord } from '../src/identity/presence.ts'
import { IdentityRig } from './identity-rig.ts'

const four = ['m1', 'm2', 'm3', 'm4']
const keyOf = (i: number) => Buffer.from(`o${String(i).padStart(16, '0')}`)
const nobodyDown = { isMetaDown: () => false }

describe('catching up', () => {
  test('a member that missed records is given them, and carries its part', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const opened = await rig.open(four)
    rig.disks.gone.add('m4')
    for (let i = 0; i < 3; i++) await opened.meta.put(keyOf(i), () => Buffer.from(`record ${i}`)).catch(() => undefined)
    rig.disks.gone.clear()
    const { identity, meta } = await rig.open(four)
    const catchUp = new CatchUp(identity, meta, nobodyDown, new ManualClock(), silentLog, { pauseMs: 1000 })
    assert.deepStrictEqual(catchUp.lagging, four)
    await catchUp.run()
    assert.deepStrictEqual(catchUp.lagging, [])
    rig.disks.gone.add('m1').add('m2')
    const left = await rig.open(['m1', 'm2', 'm3', 'm4'])
    for (let i = 0; i < 3; i++) {
      assert.strictEqual((await left.meta.getAny(keyOf(i)))?.bytes.toString(), `record ${i}`)
    }
  })
})

describe('a daemon and its word', () => {
  test('golden: the record of presence', () => {
    const record = { magic: Buffer.from('QSSW'), version: 1, writerId: Buffer.alloc(16, 0xd1), atMs: 258, reserved: 0n }
    const lines = ['51535357', '01000000', 'd1'.repeat(16), '0201000000000000', '0000000000000000']
    assert.strictEqual(PresenceRecord.toBuffer(record).toString('hex'), lines.join(''))
  })

  test('two of them notice each other; one alone sees nobody, nor those before it', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const { identity } = await rig.open(four)
    const daemon = () => new Presence(identity, nobodyDown, new ManualClock(), randomBytes, silentLog)
    await daemon().tick()
    const one = daemon()
    for (let i = 0; i < 3; i++) await one.tick()
    assert.strictEqual(one.otherSeenMs, null)
    const two = daemon()
    await two.tick()
    await one.tick()
    await two.tick()
    assert.ok(one.otherSeenMs !== null && two.otherSeenMs !== null)
  })
})
