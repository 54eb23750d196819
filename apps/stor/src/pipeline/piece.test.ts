import assert from 'node:assert'
import test from 'node:test'
import { Secret } from '@qsfs/crypto/secret'
import { ReedSolomon } from '@qsfs/erasure/reed-solomon'
import { encodeFrame, framePiecesBytes } from './frame.ts'
import { decodeShardHeader, encodeShardHeader, shardHeaderHolds } from './piece.ts'

const headersKey = new Secret(Buffer.alloc(32, 0x0c))
const identity = {
  objectId: Buffer.alloc(16, 0xaa),
  uploadId: Buffer.alloc(16, 0xbb),
  startedMs: 0x0123_4567_89ab,
  epoch: 3,
  dataShards: 4,
  totalShards: 6,
  shardIndex: 5,
  frameBytes: 1048576,
  wrappedKey: Buffer.alloc(116, 0xcc),
  sealedName: Buffer.from('name, sealed'),
}

test('golden: the three pieces of an 18-byte frame at 2+1', () => {
  const codec = new ReedSolomon(2, 1)
  const keys = {
    objectId: Buffer.alloc(16, 0xaa),
    framesKey: Buffer.alloc(32, 0x0a),
    piecesKey: Buffer.alloc(32, 0x0b),
  }
  const place = { frameNumber: 7, attachment: true, last: true }
  const target = Buffer.alloc(framePiecesBytes(18, codec))
  const entry = encodeFrame(codec, keys, place, Buffer.from('eighteen bytes lng'), target)
  assert.deepEqual(entry, { plainBytes: 18, sealedBytes: 34, coding: 0 })
  const header = (shardIndex: string) =>
    [
      '51535031', // magic "QSP1"
      '07000000', // frame 7
      'aa'.repeat(16), // object id
      '12000000', // 18 plain bytes
      '22000000', // 34 sealed bytes: ciphertext and tag
      shardIndex,
      '0600', // flags: 2 attachment, 4 last of its file; 1 would be zstd
      '00000000', // reserved
    ].join('')
  const expected = [
    header('0000'), // shard 0
    'aa086b78fe6ee545ed55ebe18cd0f7fb2cd553e9882895be69935678608db559', // sealed bytes 0-31
    '1109101200e15e6d7b6fb0379489862e', // GMAC of all before
    header('0100'), // shard 1
    '7f61000000000000000000000000000000000000000000000000000000000000', // sealed bytes 32-33, then zeros up to whole 16-byte words
    '1d2539bc626134c703fff2261a8d152c',
    header('0200'), // shard 2
    '1ddabd881fb232cf2aff203e896d04107462f5268578a2dfbba8fa88a08ac2eb', // parity
    'c63e6f2a10a16f631e4555de3fe6485f',
  ]
  assert.equal(target.toString('hex'), expected.join(''))
})

test('golden: a shard header', () => {
  const expected = [
    '51535348', // magic "QSSH"
    '01000000', // version 1
    'aa'.repeat(16), // object id
    'bb'.repeat(16), // upload id
    'ab89674523010000', // when the upload began, ms since 1970
    '0300000000000000', // epoch 3
    '0400', // k = 4
    '0600', // n = 6
    '0500', // shard 5
    '0000', // reserved
    '00001000', // frame bytes 1 MiB
    '0c000000', // sealed name is 12 bytes long
    'cc'.repeat(116), // wrapped object key
    '00000000', // reserved
    Buffer.from('name, sealed').toString('hex'),
    'e5020b87db3467d5bf2c4fb376968a2b', // HMAC-SHA-256 of all before, 16 bytes of it
  ].join('')
  assert.equal(encodeShardHeader(identity, headersKey).toString('hex'), expected)
})

test('a shard header comes back as it was, and whatever is hurt is noticed', () => {
  const header = encodeShardHeader(identity, headersKey)
  const value = Buffer.concat([header, Buffer.alloc(300)])
  const { shard, headerBytes } = decodeShardHeader(value)
  assert.equal(headerBytes, header.length)
  const {
    objectId,
    uploadId,
    startedMs,
    epoch,
    dataShards,
    totalShards,
    shardIndex,
    frameBytes,
    wrappedKey,
    sealedName,
  } = shard
  const decoded = { objectId, uploadId, startedMs, epoch, dataShards, totalShards, shardIndex, frameBytes, wrappedKey }
  assert.deepEqual({ ...decoded, sealedName }, identity)
  assert.ok(shardHeaderHolds(value, headerBytes, headersKey))
  for (let bit = 0; bit < header.length * 8; bit++) {
    const hurt = Buffer.from(value)
    hurt[bit >> 3]! ^= 1 << (bit & 7)
    try {
      assert.ok(!shardHeaderHolds(hurt, decodeShardHeader(hurt).headerBytes, headersKey), `bit ${bit}`)
    } catch (error) {
      assert.equal((error as { reason?: string }).reason, 'damaged', String(error))
    }
  }
  for (let length = 0; length < header.length; length++) {
    assert.throws(() => decodeShardHeader(value.subarray(0, length)), { reason: 'damaged' })
  }
})
