import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { KeyRing } from '@qsfs/crypto/keys'
import { rotateRoot } from '../src/identity/key-rotation.ts'
import { RewrapWalk } from '../src/identity/rewrap-walk.ts'
import { encodeNameRecord, nameKey, objectKey } from '../src/metadata/name-record.ts'
import { decodeRecord, encodeRecord } from '../src/metadata/object-record.ts'
import { Crash, IdentityRig, type Opened } from './identity-rig.ts'

const names = ['m1', 'm2', 'm3', 'm4']

/** Records of objects and names, none of which has shards anywhere. */
async function putRecords({ meta, identity }: Opened, count: number): Promise<Buffer[]> {
  const { keys } = identity.superblock
  const ids: Buffer[] = []
  for (let i = 0; i < count; i++) {
    const objectId = randomBytes(16)
    const { wrappedKey } = keys.newObjectKeys(objectId)
    await meta.put(objectKey(objectId), ({ generation, memberSet }) =>
      encodeRecord({
        ...{ generation, memberSet, state: 'live', objectId, uploadId: randomBytes(16), createdMs: 1, wrappedKey },
        ...{ name: `/f${i}`, sizeBytes: 0, sha256: Buffer.alloc(32), blake2b: null, dataShards: 1, totalShards: 1 },
        ...{ frameBytes: 1024, frames: [{ plainBytes: 0, sealedBytes: 16, coding: 0 }], attachment: null, owed: [] },
        shards: [{ index: 0, backend: 'd', runs: [{ start: i, count: 1 }], root: Buffer.alloc(32), confirmed: true }],
      }),
    )
    const named = { name: `/f${i}`, state: 'live', objectId, sizeBytes: 0, sha256: Buffer.alloc(32) } as const
    await meta.put(nameKey(keys.nameHash(named.name)), () => encodeNameRecord(named))
    ids.push(objectId)
  }
  return ids
}

async function rootIdsOf({ meta, identity }: Opened): Promise<Set<number>> {
  const found = new Set<number>()
  for (const key of await meta.list()) {
    const { rootId, bytes } = (await meta.get(key))!
    found.add(rootId)
    if (key[0] !== 0x6f) continue
    const { wrappedKey, objectId } = decodeRecord(bytes)
    identity.superblock.keys.openObjectKeys(wrappedKey, objectId)
    found.add(identity.superblock.keys.rootIdOf(wrappedKey))
  }
  return found
}

describe('rotate-key --deep', () => {
  test('seals every record and object key anew; a second one does it again', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const opened = await rig.open(names)
    await putRecords(opened, 5)
    assert.deepStrictEqual([...(await rootIdsOf(opened))], [1])
    const walk = new RewrapWalk(opened.meta, opened.identity.superblock.keys)
    assert.strictEqual(walk.progress, null)
    for (const rootId of [2, 3]) {
      await rotateRoot(opened.identity)
      assert.deepStrictEqual(walk.progress, { doneCount: 0, totalCount: 0 })
      assert.strictEqual(await walk.run(), 10)
      assert.strictEqual(walk.progress, null)
      assert.deepStrictEqual([...(await rootIdsOf(opened))], [rootId])
    }
    const again = await rig.open(names)
    assert.strictEqual(await new RewrapWalk(again.meta, again.identity.superblock.keys).run(), 0)
    assert.deepStrictEqual([...(await rootIdsOf(again))], [3])
    // That it is done is kept: a start looks at no record.
    const writes = 1000
    rig.disks.writesLeft = writes
    const idle = new RewrapWalk(again.meta, again.identity.superblock.keys)
    assert.deepStrictEqual([idle.isDue, idle.progress], [true, null])
    await idle.run()
    assert.deepStrictEqual([idle.isDue, rig.disks.writesLeft], [false, writes])
  })

  test('a crash after any write loses nothing, and the next walk goes on', async () => {
    let crashCount = 0
    for (let writes = 0; writes < 40; writes += 3) {
      await using stack = new AsyncDisposableStack()
      const rig = await IdentityRig.make(stack)
      const opened = await rig.open(names)
      await putRecords(opened, 3)
      rig.disks.writesLeft = writes
      try {
        await rotateRoot(opened.identity)
        await new RewrapWalk(opened.meta, opened.identity.superblock.keys).run()
      } catch (error) {
        if (!(error instanceof Crash)) throw error
        crashCount++
      }
      rig.disks.writesLeft = Number.POSITIVE_INFINITY
      const after = await rig.open(names)
      const { keys } = after.identity.superblock
      for (const rootId of await rootIdsOf(after)) assert.ok(rootId <= keys.newestRootId)
      await new RewrapWalk(after.meta, keys).run()
      assert.deepStrictEqual([...(await rootIdsOf(after))], [keys.newestRootId], `after ${writes} writes`)
    }
    assert.ok(crashCount > 5, `${crashCount}`)
  })

  test('what was sealed under a root key that is not here is the wrong key, not damage', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const opened = await rig.open(names)
    const [objectId] = await putRecords(opened, 1)
    const record = decodeRecord((await opened.meta.get(objectKey(objectId!)))!.bytes)
    const other = KeyRing.fresh(randomBytes)
    assert.throws(() => other.openObjectKeys(record.wrappedKey, objectId!), { reason: 'wrong-key' })
    other.adopt(other.grown())
    const { wrappedKey } = other.newObjectKeys(objectId!)
    assert.throws(() => opened.identity.superblock.keys.openObjectKeys(wrappedKey, objectId!), { reason: 'wrong-key' })
  })
})
