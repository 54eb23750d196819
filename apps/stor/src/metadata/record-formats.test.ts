import assert from 'node:assert'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { ReedSolomon } from '@qsfs/erasure/reed-solomon'
import { decodeNameRecord, encodeNameRecord, nameKey, objectIdOfKey, objectKey } from './name-record.ts'
import { decodeShard, joinRecord, RecordShardHeader, splitRecord } from './record-shard.ts'

const hex = (...lines: string[]) =>
  Buffer.from(lines.map(line => line.replace(/#.*/, '').replaceAll(' ', '')).join(''), 'hex')
/** Stands in for the keyed check, so that the fixture needs no key. */
const mac = (...parts: readonly Uint8Array[]) =>
  createHash('sha256').update(Buffer.concat(parts)).digest().subarray(0, 16)
const key = Buffer.concat([objectKey(Buffer.alloc(16, 0x0b)), Buffer.of(1)])
const generation = { epoch: 1, counter: 7, attempt: Buffer.alloc(16, 0xa7) }
const sealed = Buffer.from('a sealed record')

describe('the shard of a record', () => {
  test('golden: shard 2 of "a sealed record", 2+2, slot 1', () => {
    const shard = splitRecord(sealed, new ReedSolomon(2, 2), { generation, memberSet: 3 }, key, mac)[1]
    assert.deepStrictEqual(
      shard,
      hex(
        '51535253 # magic QSRS',
        '01 # version',
        '02 04 01 # k, n, index of this shard',
        '03000000 # member set',
        '0f000000 # length of the sealed record',
        '0100000000000000 # epoch',
        '0700000000000000 # counter',
        'a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7 # attempt',
        'bc992e0688bc5f74f10743f5f2a7048986cde43be6169ea82626e139814af463 # SHA-256 of the sealed record',
        '08000000 # length of the shard',
        '00000000 # reserved',
        '943a09c70c22a0d4fa5248faa63e7460 # MAC of 1-byte key length, key, the 88 bytes before, the shard',
        '207265636f726400 # " record", padded with a zero',
      ),
    )
  })

  test('any k shards rebuild the record, whatever its length', () => {
    const codec = new ReedSolomon(2, 4)
    for (const length of [0, 1, 2, 3, 4096, 10_001]) {
      const record = Buffer.alloc(length, 'x')
      const shards = splitRecord(record, codec, { generation, memberSet: 1 }, key, mac)
      const decoded = shards.map((value, index) => decodeShard(value, key, index, mac)!)
      assert.deepStrictEqual(joinRecord([decoded[5]!, decoded[3]!], codec), record)
      assert.deepStrictEqual(joinRecord([decoded[0]!, decoded[1]!], new ReedSolomon(3, 1)), record)
    }
  })

  test('moved, cut or changed shards are none', () => {
    const [value] = splitRecord(sealed, new ReedSolomon(2, 2), { generation, memberSet: 1 }, key, mac) as [Buffer]
    assert.ok(decodeShard(value, key, 0, mac))
    assert.strictEqual(decodeShard(value, key, 1, mac), null)
    assert.strictEqual(decodeShard(value, Buffer.concat([key.subarray(0, -1), Buffer.of(0)]), 0, mac), null)
    for (let cut = 0; cut < value.length; cut++)
      assert.strictEqual(decodeShard(value.subarray(0, cut), key, 0, mac), null)
    for (let at = 0; at < value.length; at++) {
      const changed = Buffer.from(value)
      changed[at]! ^= 0x10
      assert.strictEqual(decodeShard(changed, key, 0, mac), null, `byte ${at}`)
    }
  })

  test('shards of two records do not become one', () => {
    const codec = new ReedSolomon(2, 2)
    const shardsOf = (record: string) =>
      splitRecord(Buffer.from(record), codec, { generation, memberSet: 1 }, key, mac).map(
        (value, index) => decodeShard(value, key, index, mac)!,
      )
    assert.throws(() => joinRecord([shardsOf('record one')[0]!, shardsOf('record two')[1]!], codec), {
      reason: 'damaged',
    })
    assert.strictEqual(RecordShardHeader.sizeBytes, 104)
  })
})

describe('the record of a name', () => {
  const record = {
    name: '/data/d7',
    state: 'live',
    objectId: Buffer.alloc(16, 0x0b),
    sizeBytes: 8_388_608,
    sha256: Buffer.alloc(32, 0x5a),
  } as const

  test('golden', () => {
    const bytes = hex(
      '51534e52 # magic QSNR',
      '01 # version',
      '01 # live; 02 deleted',
      '0800 # length of the name',
      '0000800000000000 # size of the file',
      '0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b # object id',
      '5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a # SHA-256 of the file',
      '2f646174612f6437 # the name, UTF-8: "/data/d7"',
    )
    assert.deepStrictEqual(encodeNameRecord(record), bytes)
    assert.deepStrictEqual(decodeNameRecord(bytes), record)
    const deleted = { ...record, state: 'deleted' } as const
    assert.deepStrictEqual(decodeNameRecord(encodeNameRecord(deleted)), deleted)
  })

  test('anything else is damaged', () => {
    const bytes = encodeNameRecord(record)
    const bad = [bytes.subarray(0, 63), bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.of(0)]), Buffer.alloc(80)]
    for (const value of bad) assert.throws(() => decodeNameRecord(value), { reason: 'damaged' })
    assert.throws(() => encodeNameRecord({ ...record, name: `/${'x'.repeat(4096)}` }), assert.AssertionError)
  })

  test('keys', () => {
    const id = Buffer.alloc(16, 1)
    assert.deepStrictEqual(objectIdOfKey(objectKey(id)), id)
    assert.strictEqual(objectIdOfKey(nameKey(id)), null)
  })
})
