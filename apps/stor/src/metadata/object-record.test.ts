import assert from 'node:assert'
import test from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import {
  decodeRecord,
  encodeRecord,
  FrameCoding,
  type FrameEntry,
  frameCountOf,
  type ObjectRecord,
  plainBytesOf,
} from './object-record.ts'

test('golden: a record of a 5-byte file at 1+1', () => {
  const record: ObjectRecord = {
    generation: { epoch: 1, counter: 2, attempt: Buffer.alloc(16, 0xaa) },
    state: 'live',
    memberSet: 3,
    objectId: Buffer.alloc(16, 0xbb),
    uploadId: Buffer.alloc(16, 0xcc),
    createdMs: 0x0123_4567_89ab,
    name: 'd7',
    sizeBytes: 5,
    sha256: Buffer.alloc(32, 0xdd),
    blake2b: Buffer.alloc(16, 0xee),
    dataShards: 1,
    totalShards: 2,
    frameBytes: 1048576,
    frames: [{ plainBytes: 5, sealedBytes: 21, coding: FrameCoding.raw }],
    attachment: {
      sizeBytes: 9,
      sha256: Buffer.alloc(32, 0x11),
      frames: [{ plainBytes: 9, sealedBytes: 24, coding: FrameCoding.zstd }],
    },
    wrappedKey: Buffer.alloc(116, 0x22),
    shards: [
      { index: 0, backend: 'b1', confirmed: true, root: Buffer.alloc(32, 0x33), runs: [{ start: 258, count: 2 }] },
      { index: 1, backend: 'b2', confirmed: false, root: Buffer.alloc(32, 0x44), runs: [] },
    ],
    owed: [{ backend: 'b3', runs: [{ start: 7, count: 1 }] }],
  }
  const expected = [
    '51534f52', // magic "QSOR"
    '01000000', // version 1
    '0100000000000000', // epoch 1
    '0200000000000000', // counter 2
    'aa'.repeat(16), // attempt
    '01000000', // state: live
    '03000000', // member set 3
    'bb'.repeat(16), // object id
    'cc'.repeat(16), // upload id
    'ab89674523010000', // created, ms since 1970
    '0500000000000000', // size 5
    'dd'.repeat(32), // SHA-256
    'ee'.repeat(16), // BLAKE2b-128
    '0100', // k = 1
    '0200', // n = 2
    '00001000', // frame bytes 1 MiB
    '02000000', // name is 2 bytes long
    '01000000', // 1 frame
    '01000000', // 1 frame of the attachment
    '01000000', // 1 removal owed
    '0900000000000000', // attachment size 9
    '11'.repeat(32), // its SHA-256
    '22'.repeat(116), // wrapped key
    '00'.repeat(116), // reserved
    '6437', // name "d7"
    '15000000', // frame 0: 21 sealed bytes, raw
    '18000080', // attachment's frame 0: 24 sealed bytes, zstd
    '0000', // shard 0
    '0100', // confirmed
    '02000000', // backend name is 2 bytes long
    '01000000', // 1 run
    '33'.repeat(32), // root
    '6231', // "b1"
    '0201000000000000', // ids from 258
    '02000000', // 2 of them
    '0100', // shard 1
    '0000', // owed
    '02000000', // backend name is 2 bytes long
    '00000000', // no runs
    '44'.repeat(32), // root
    '6232', // "b2"
    '02000000', // removal owed: backend name is 2 bytes long
    '01000000', // 1 run
    '6233', // "b3"
    '0700000000000000', // ids from 7
    '01000000', // 1 of them
  ].join('')
  assert.equal(encodeRecord(record).toString('hex'), expected)
  assert.deepEqual(decodeRecord(Buffer.from(expected, 'hex')), record)
})

test('random records come back as they were, and no cut or longer one is believed', t => {
  const random = seededPrng(t)
  for (let round = 0; round < 60; round++) {
    const record = randomRecord(random)
    const bytes = encodeRecord(record)
    assert.deepEqual(decodeRecord(bytes), record)
    assert.throws(() => decodeRecord(bytes.subarray(0, random.below(bytes.length))), { reason: 'damaged' })
    assert.throws(() => decodeRecord(Buffer.concat([bytes, Buffer.alloc(1)])), { reason: 'damaged' })
  }
})

test('whatever the bytes are, decoding ends in a record or in "damaged"', t => {
  const random = seededPrng(t)
  for (let round = 0; round < 3000; round++) {
    const bytes = encodeRecord(randomRecord(random))
    for (let hits = 1 + random.below(3); hits > 0; hits--) {
      bytes[random.chance(0.7) ? random.below(200) : random.below(bytes.length)] = random.pick([0, 1, 0x7f, 0xff])
    }
    try {
      decodeRecord(bytes)
    } catch (error) {
      assert.equal((error as { reason?: string }).reason, 'damaged', String(error))
    }
  }
})

function randomRecord(random: Prng): ObjectRecord {
  const frameBytes = 1 + random.below(5000)
  const frames = (sizeBytes: number): FrameEntry[] =>
    Array.from({ length: frameCountOf(sizeBytes, frameBytes) }, (_, index) => {
      const plainBytes = plainBytesOf(index, sizeBytes, frameBytes)
      const coding = random.pick([FrameCoding.raw, FrameCoding.zstd])
      return { plainBytes, sealedBytes: random.below(plainBytes + 17), coding }
    })
  const runs = () =>
    Array.from({ length: random.below(4) }, () => ({ start: random.below(2 ** 50), count: random.below(2 ** 32) }))
  const sizeBytes = random.below(20_000)
  const attachmentBytes = random.below(9000)
  const totalShards = 1 + random.below(9)
  return {
    generation: { epoch: random.below(9), counter: random.below(2 ** 40), attempt: random.bytes(16) },
    state: random.pick(['live', 'deleted']),
    memberSet: random.below(100),
    objectId: random.bytes(16),
    uploadId: random.bytes(16),
    createdMs: random.below(2 ** 42),
    name: `data/${'é'.repeat(random.below(30))}`,
    sizeBytes,
    sha256: random.bytes(32),
    blake2b: random.bytes(16),
    dataShards: 1 + random.below(totalShards),
    totalShards,
    frameBytes,
    frames: frames(sizeBytes),
    attachment: random.chance(0.5)
      ? null
      : { sizeBytes: attachmentBytes, sha256: random.bytes(32), frames: frames(attachmentBytes) },
    wrappedKey: random.bytes(116),
    shards: Array.from({ length: totalShards }, (_, index) => ({
      index,
      backend: `backend-${random.below(1000)}`,
      confirmed: random.chance(0.8),
      root: random.bytes(32),
      runs: runs(),
    })),
    owed: Array.from({ length: random.below(3) }, () => ({ backend: 'away', runs: runs() })),
  }
}
