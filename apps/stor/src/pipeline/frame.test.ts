import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import test from 'node:test'
import { type MaybeShard, ReedSolomon } from '@qsfs/erasure/reed-solomon'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { FrameCoding } from '../metadata/object-record.ts'
import { cutPieces, decodeFrame, encodeFrame, framePiecesBytes, verifyFrame } from './frame.ts'
import { openPiece, pieceBytesOf } from './piece.ts'

const place = { frameNumber: 3, attachment: false, last: false }

function makeKeys(random: Prng) {
  return { objectId: random.bytes(16), framesKey: random.bytes(32), piecesKey: random.bytes(32) }
}

test('frames of every kind and length survive any m losses', t => {
  const random = seededPrng(t)
  const compressible = Buffer.from('All work and no play makes Jack a dull boy. '.repeat(30_000))
  for (const [k, m] of [
    [4, 2],
    [1, 1],
    [3, 0],
    [2, 4],
    [16, 4],
  ] as const) {
    const codec = new ReedSolomon(k, m)
    for (const length of [0, 1, 15, 16, 17, 63, 64, 65, 1000 + random.below(5000), 2 ** 20]) {
      const keys = makeKeys(random)
      const plain = random.chance(0.5) ? compressible.subarray(0, length) : randomBytes(length)
      const target = Buffer.alloc(framePiecesBytes(length, codec))
      const entry = encodeFrame(codec, keys, place, plain, target)
      verifyFrame(codec, keys, place, entry, plain, target)
      const pieces = cutPieces(target, k + m, pieceBytesOf(entry.sealedBytes, k))
      const shards: MaybeShard[] = pieces.map((p, i) => openPiece(p, keys.objectId, place, entry, i, k, keys.piecesKey))
      for (let lost = 0; lost < m; lost++) shards[random.below(k + m)] = null
      const parts: Buffer[] = []
      decodeFrame(codec, keys, place, entry, shards, part => parts.push(part))
      assert.ok(Buffer.concat(parts).equals(plain), `${k}+${m}, ${length} bytes`)
    }
  }
})

test('what shrinks is compressed, what does not is left raw', () => {
  const codec = new ReedSolomon(4, 2)
  const keys = { objectId: Buffer.alloc(16), framesKey: Buffer.alloc(32, 1), piecesKey: Buffer.alloc(32, 2) }
  const encode = (plain: Buffer) =>
    encodeFrame(codec, keys, place, plain, Buffer.alloc(framePiecesBytes(2 ** 20, codec)))
  const zeros = encode(Buffer.alloc(2 ** 20))
  assert.equal(zeros.coding, FrameCoding.zstd)
  assert.ok(zeros.sealedBytes < 1000)
  assert.deepEqual(encode(randomBytes(2 ** 20)), {
    plainBytes: 2 ** 20,
    sealedBytes: 2 ** 20 + 16,
    coding: FrameCoding.raw,
  })
  assert.deepEqual(
    encodeFrame(codec, keys, place, Buffer.alloc(1000), Buffer.alloc(framePiecesBytes(1000, codec)), {
      compress: false,
    }),
    { plainBytes: 1000, sealedBytes: 1016, coding: FrameCoding.raw },
  )
  // Looks compressible at its start, is not: judged by the whole.
  assert.equal(encode(Buffer.concat([Buffer.alloc(20_000), randomBytes(2 ** 20 - 20_000)])).coding, FrameCoding.raw)
})

test('a piece is accepted as nothing but what it is', t => {
  const random = seededPrng(t)
  const codec = new ReedSolomon(2, 1)
  const keys = makeKeys(random)
  const target = Buffer.alloc(framePiecesBytes(100, codec))
  const entry = encodeFrame(codec, keys, place, random.bytes(100), target)
  const pieces = cutPieces(target, 3, pieceBytesOf(entry.sealedBytes, 2))
  const accept = (
    piece: Buffer,
    index: number,
    at = place,
    as = entry,
    objectId = keys.objectId,
    key = keys.piecesKey,
  ) => openPiece(piece, objectId, at, as, index, 2, key)
  pieces.forEach((piece, index) => {
    assert.ok(accept(piece, index))
    assert.equal(accept(piece, (index + 1) % 3), null)
    for (let bit = 0; bit < piece.length * 8; bit++) {
      piece[bit >> 3]! ^= 1 << (bit & 7)
      assert.equal(accept(piece, index), null)
      piece[bit >> 3]! ^= 1 << (bit & 7)
    }
    for (let length = 0; length < piece.length; length++) assert.equal(accept(piece.subarray(0, length), index), null)
    assert.equal(accept(piece, index, { ...place, frameNumber: 4 }), null)
    assert.equal(accept(piece, index, { ...place, last: true }), null)
    assert.equal(accept(piece, index, { ...place, attachment: true }), null)
    assert.equal(accept(piece, index, place, { ...entry, coding: FrameCoding.zstd }), null)
    assert.equal(accept(piece, index, place, { ...entry, plainBytes: 99 }), null)
    assert.equal(accept(piece, index, place, entry, random.bytes(16)), null)
    assert.equal(accept(piece, index, place, entry, keys.objectId, random.bytes(32)), null)
  })
})

test('verification notices a frame that was coded wrongly', t => {
  const random = seededPrng(t)
  const codec = new ReedSolomon(4, 2)
  const keys = makeKeys(random)
  const plain = random.bytes(1000)
  const target = Buffer.alloc(framePiecesBytes(1000, codec))
  const entry = encodeFrame(codec, keys, place, plain, target)
  assert.throws(() => verifyFrame(codec, keys, place, entry, random.bytes(1000), target), { reason: 'damaged' })
  target[target.length - 100]! ^= 1
  assert.throws(() => verifyFrame(codec, keys, place, entry, plain, target), { reason: 'damaged' })
})

test('authentic pieces under another frame key are damage, not bytes', t => {
  const random = seededPrng(t)
  const codec = new ReedSolomon(2, 1)
  const keys = makeKeys(random)
  const target = Buffer.alloc(framePiecesBytes(500, codec))
  const entry = encodeFrame(codec, keys, place, random.bytes(500), target)
  const pieces = cutPieces(target, 3, pieceBytesOf(entry.sealedBytes, 2))
  const shards: MaybeShard[] = pieces.map((p, i) => openPiece(p, keys.objectId, place, entry, i, 2, keys.piecesKey))
  const wrong = { ...keys, framesKey: random.bytes(32) }
  const decode = () => decodeFrame(codec, wrong, place, entry, shards, () => undefined)
  assert.throws(decode, { reason: 'damaged', message: /authentic/ })
})
