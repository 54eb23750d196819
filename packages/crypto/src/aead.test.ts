import assert from 'node:assert'
import test from 'node:test'
import { gcm } from '@noble/ciphers/aes.js'
import { seededPrng } from '@qsfs/testkit/prng'
import { openFrame, pieceMac, sealFrame } from './aead.ts'

test('frames are AES-256-GCM as another implementation has it', t => {
  const random = seededPrng(t)
  for (let round = 0; round < 40; round++) {
    const key = random.bytes(32)
    const objectId = random.bytes(16)
    const frameNumber = random.pick([0, 1, random.below(2 ** 20), 2 ** 32 - 1, 2 ** 32, 2 ** 40 + random.below(99)])
    const plain = random.bytes(random.below(3000))
    const nonce = Buffer.alloc(12)
    nonce.writeBigUInt64LE(BigInt(frameNumber), 4)
    const oracle = gcm(key, nonce, Buffer.concat([objectId, nonce.subarray(4)])).encrypt(plain)
    const sealed = Buffer.concat(sealFrame(key, objectId, frameNumber, plain))
    assert.deepEqual(sealed, Buffer.from(oracle))
    assert.deepEqual(openFrame(key, objectId, frameNumber, sealed), plain)
  }
})

test('piece MACs are GMAC as another implementation has it', t => {
  const random = seededPrng(t)
  for (let round = 0; round < 40; round++) {
    const key = random.bytes(32)
    const frameNumber = random.pick([0, random.below(1000), 2 ** 33 + 5])
    const shardIndex = random.below(256)
    const bytes = random.bytes(random.below(3000))
    const nonce = Buffer.alloc(12)
    nonce.writeBigUInt64LE(BigInt(frameNumber))
    nonce.writeUInt32LE(shardIndex, 8)
    const oracle = gcm(key, nonce, bytes).encrypt(new Uint8Array(0))
    assert.deepEqual(pieceMac(key, frameNumber, shardIndex, bytes), Buffer.from(oracle))
  }
})

test('a frame opens only as the frame it is: bits, place, object and key', t => {
  const random = seededPrng(t)
  const key = random.bytes(32)
  const objectId = random.bytes(16)
  const sealed = Buffer.concat(sealFrame(key, objectId, 7, random.bytes(100)))
  const damaged = { name: 'KeyError', reason: 'damaged' }
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = Buffer.from(sealed)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.throws(() => openFrame(key, objectId, 7, flipped), damaged)
  }
  for (let length = 0; length < sealed.length; length++) {
    assert.throws(() => openFrame(key, objectId, 7, sealed.subarray(0, length)), damaged)
  }
  assert.throws(() => openFrame(key, objectId, 8, sealed), damaged)
  assert.throws(() => openFrame(key, random.bytes(16), 7, sealed), damaged)
  assert.throws(() => openFrame(random.bytes(32), objectId, 7, sealed), damaged)
})
