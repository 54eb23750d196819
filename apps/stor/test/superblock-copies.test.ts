import assert from 'node:assert'
import { describe, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import type { Backend } from '../src/backend/backend.ts'
import type { Fleet } from '../src/backend/fleet.ts'
import { MemoryBackend } from '../src/backend/memory-backend.ts'
import { rotateMaster } from '../src/identity/key-rotation.ts'
import { CopyRecord, decodeCopyRecord, SuperblockCopies } from '../src/identity/superblock-copies.ts'
import { looksLikeSuperblock } from '../src/metadata/superblock.ts'
import { IdentityRig } from './identity-rig.ts'

const names = ['m1', 'm2', 'm3', 'm4']

async function superblocksOn(backend: Backend): Promise<Buffer[]> {
  const found: Buffer[] = []
  for await (const ids of backend.list()) {
    for (const id of ids) {
      const value = await backend.get(id)
      if (looksLikeSuperblock(value)) found.push(value)
    }
  }
  return found
}

describe('copies of the superblock', () => {
  test('one on each data backend that holds something, the newest, and no older one', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const { identity, meta } = await rig.open(names)
    const data = [new MemoryBackend('d1'), new MemoryBackend('d2'), new MemoryBackend('empty')]
    const down = new Set<string>()
    const fleet = {
      data: data.map(backend => ({ backend })),
      isDown: (name: string) => down.has(name),
    } as unknown as Fleet
    const copies = new SuperblockCopies(identity, meta, fleet, silentLog)
    for (const backend of data.slice(0, 2)) await backend.put(Buffer.from('a piece'))
    await copies.refresh()
    await copies.refresh()
    const held = () => Promise.all(data.map(superblocksOn))
    assert.deepStrictEqual(await held(), [[identity.bytes], [identity.bytes], []])

    down.add('d2')
    const before = identity.bytes
    await rotateMaster(identity)
    await copies.refresh()
    assert.deepStrictEqual(await held(), [[identity.bytes], [before], []])
    down.clear()
    await copies.refresh()
    assert.deepStrictEqual(await held(), [[identity.bytes], [identity.bytes], []])

    // A lost copy is put again; what has its id by then stays.
    const [id] = (await Array.fromAsync(data[0]!.list())).flat().slice(-1)
    await data[0]!.remove([id!])
    await copies.refresh()
    assert.deepStrictEqual(await held(), [[identity.bytes], [identity.bytes], []])
  })

  test('golden: the record of one', () => {
    const bytes = Buffer.from('515353430100000005000000000000002a000000000000000000000000000000', 'hex')
    const record = { magic: Buffer.from('QSSC'), version: 1, counter: 5, pieceId: 42, reserved: 0n }
    assert.deepStrictEqual(CopyRecord.toBuffer(record), bytes)
    assert.deepStrictEqual(decodeCopyRecord(bytes), { counter: 5, pieceId: 42 })
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decodeCopyRecord(bytes.subarray(0, length)), { reason: 'damaged' })
    }
    for (let at = 0; at < 8; at++) {
      const hurt = Buffer.from(bytes)
      hurt[at]! ^= 1
      assert.throws(() => decodeCopyRecord(hurt), { reason: 'damaged' })
    }
  })
})
