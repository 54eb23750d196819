import assert from 'node:assert/strict'
import { test } from 'node:test'
import { zdbCrc } from '@qsfs/bytes/checksum'
import { seededPrng } from '@qsfs/testkit/prng'
import { freshDescriptor, sequentialNamespace, userNamespace, vaultDescriptor } from '../../../test/zdb/golden.ts'
import { FormatError } from '../format.ts'
import { scanForeign } from './data-scan.ts'
import { decodeDescriptor } from './descriptor-format.ts'
import { type IndexFileEntry, indexEntries } from './index-format.ts'

type Prng = ReturnType<typeof seededPrng>

function fileOf(bytes: Buffer) {
  return { sizeBytes: bytes.length, readSync: (at: number, length: number) => bytes.subarray(at, at + length) }
}

/** What a scan tells, in its order. */
function scan(data: Buffer, index: Buffer | null) {
  const told: string[] = []
  let leftovers = 0
  const indexed = () => (index === null ? [] : [...indexEntries(index)].sort((a, b) => a.offsetBytes - b.offsetBytes))
  const result = scanForeign(
    fileOf(data),
    { endBytes: data.length, isKey: key => key.length > 0, indexed },
    {
      entry: ({ key, value, valueCrc, offsetBytes, lengthBytes, deleted }) => {
        assert.equal(zdbCrc(value), valueCrc, 'a value that does not verify was told')
        assert.ok(offsetBytes >= 28 && offsetBytes + lengthBytes <= data.length)
        told.push(`${key.toString('latin1')}${deleted ? ' deleted' : `=${value}`}`)
      },
      lost: ({ key }: IndexFileEntry) => told.push(`${key.toString('latin1')} lost`),
      leftover: () => leftovers++,
    },
  )
  return { ...result, told, leftovers }
}

test('a tear ends a file that has no index; with one, what lies behind it is found', () => {
  const { d0, i0 } = userNamespace
  const torn = Buffer.from(d0)
  torn[0x38 + 18 + 5]! ^= 1 // the value WORLD2
  assert.deepEqual(scan(torn, null).told, ['hello=world'])
  const found = scan(torn, i0)
  assert.deepEqual(found.told, ['hello=world', 'hello lost', 'k=', 'hello deleted'])
  assert.deepEqual(found.damage, [{ fromBytes: 0x38, toBytes: 0x55 }])
  // 0-db died within an entry and went on behind what it had written of it.
  const shifted = Buffer.concat([d0.subarray(0, 0x38 + 20), d0.subarray(0x38)])
  const moved = Buffer.from(i0)
  for (const at of [0x44, 0x6b]) moved.writeUInt32LE(moved.readUInt32LE(at + 1) + 20, at + 1)
  assert.deepEqual(scan(shifted, moved).told, ['hello=world', 'hello=WORLD2', 'k=', 'hello deleted'])
})

test('an entry that is bad where the index points to it is passed over once', () => {
  const { d0, i0 } = userNamespace
  const bad = Buffer.from(d0)
  bad[0x38 + 13] = 2 // truncated, and with a value
  assert.deepEqual(scan(bad, i0).told, ['hello=world', 'hello lost', 'k=', 'hello deleted'])
})

test('what compaction tools of 0-db left of dead entries is passed over', () => {
  const { d0 } = userNamespace
  const header = (keyBytes: number, flags: number, key = '') => {
    const bytes = Buffer.alloc(18)
    bytes[0] = keyBytes
    bytes[13] = flags
    return Buffer.concat([bytes, Buffer.from(key)])
  }
  const compacted = Buffer.concat([
    d0.subarray(0, 28),
    header(0, 3),
    header(5, 2, 'hello'),
    header(0, 3),
    d0.subarray(28),
  ])
  const { told, leftovers, goodBytes } = scan(compacted, null)
  assert.deepEqual([told[0], told.length, leftovers, goodBytes], ['hello=world', 4, 3, compacted.length])
  // Zeros are what a power cut leaves, and no entries.
  assert.equal(scan(Buffer.concat([d0, Buffer.alloc(1000)]), null).goodBytes, d0.length)
})

test('files of 0-db with any damage: no crash, no hang, no value that was not written', t => {
  const prng = seededPrng(t)
  const files = [
    { data: userNamespace.d0, index: userNamespace.i0 },
    { data: userNamespace.d1, index: userNamespace.i1 },
    { data: sequentialNamespace.d0, index: sequentialNamespace.i0 },
  ]
  let refused = 0
  for (let round = 0; round < 20_000; round++) {
    const { data, index } = prng.pick(files)
    const damagedData = prng.chance(0.8) ? damaged(data, prng) : data
    const damagedIndex = prng.chance(0.5) ? damaged(index, prng) : index
    try {
      const { goodBytes, damage } = scan(damagedData, prng.chance(0.7) ? damagedIndex : null)
      assert.ok(goodBytes <= Math.max(28, damagedData.length))
      for (const { fromBytes, toBytes } of damage) assert.ok(fromBytes < toBytes && toBytes <= damagedData.length)
    } catch (error) {
      assert.ok(error instanceof FormatError, String(error))
      refused++
    }
    try {
      decodeDescriptor(damaged(prng.pick([freshDescriptor, vaultDescriptor]), prng))
    } catch (error) {
      assert.ok(error instanceof FormatError, String(error))
    }
  }
  assert.ok(refused < 10_000, `${refused} refused`)
})

function damaged(bytes: Buffer, prng: Prng): Buffer {
  const copy = Buffer.from(bytes)
  switch (prng.below(5)) {
    case 0:
      return copy.subarray(0, prng.below(copy.length + 1))
    case 1: {
      copy[prng.below(copy.length)]! ^= 1 << prng.below(8)
      return copy
    }
    case 2: {
      const at = prng.below(copy.length)
      prng.bytes(Math.min(1 + prng.below(8), copy.length - at)).copy(copy, at)
      return copy
    }
    case 3:
      return Buffer.concat([copy, prng.bytes(prng.below(64))])
    default:
      return Buffer.concat([copy.subarray(0, 28), prng.bytes(prng.below(200))])
  }
}
