import assert from 'node:assert'
import test from 'node:test'
import { gcm } from '@noble/ciphers/aes.js'
import { seededPrng } from '@qsfs/testkit/prng'
import { cutSealed, openFrame, pieceMac, sealFrame } from './aead.ts'

test('frames are AES-256-GCM as another implementation has it', t => {
  const random = seededPrng(t)
  for (let round = 0; round < 40; round++) {
    const key = random.bytes(32)
    const objectId = random.bytes(16)
    const frameNumber = random.pick([0, 1, random.below(2 ** 20), 2 ** 32 - 1, 2 ** 32, 2 ** 40 + random.below(99)])
    const plain = random.bytes(random.below(3000))
    const partBytes = 16 * (1 + random.below(40))
    const nonce = Buffer.alloc(12)
    nonce.writeBigUInt64LE(BigInt(frameNumber), 4)
    const oracle = gcm(key, nonce, Buffer.concat([objectId, nonce.subarray(4)])).encrypt(plain)
    const sealed = seal(key, objectId, frameNumber, partsOf(plain, partBytes))
    assert.deepEqual(sealed, Buffer.from(oracle))
    // What follows the tag does not count; the tag may lie in two pieces.
    const stored = Buffer.concat([sealed, Buffer.alloc(random.below(70))])
    assert.deepEqual(open(key, objectId, frameNumber, partsOf(stored, partBytes), sealed.length), plain)
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
  const sealed = seal(key, objectId, 7, [random.bytes(100)])
  const damaged = { name: 'KeyError', reason: 'damaged' }
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = Buffer.from(sealed)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.throws(() => open(key, objectId, 7, [flipped]), damaged)
  }
  for (let length = 0; length < sealed.length; length++) {
    assert.throws(() => open(key, objectId, 7, [sealed.subarray(0, length)]), damaged)
  }
  assert.throws(() => open(key, objectId, 8, [sealed]), damaged)
  assert.throws(() => open(key, random.bytes(16), 7, [sealed]), damaged)
  assert.throws(() => open(random.bytes(32), objectId, 7, [sealed]), damaged)
})

function seal(key: Buffer, objectId: Buffer, frameNumber: number, parts: readonly Buffer[]): Buffer {
  const ciphertexts: Buffer[] = []
  const tag = sealFrame(key, objectId, frameNumber, parts, part => ciphertexts.push(part))
  return Buffer.concat([...ciphertexts, tag])
}

function open(
  key: Buffer,
  objectId: Buffer,
  frameNumber: number,
  pieces: readonly Buffer[],
  sealedBytes = Buffer.concat(pieces).length,
): Buffer {
  const plain: Buffer[] = []
  openFrame(key, objectId, frameNumber, cutSealed(pieces, sealedBytes), part => plain.push(part))
  return Buffer.concat(plain)
}

function partsOf(bytes: Buffer, partBytes: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / partBytes) }, (_, i) =>
    bytes.subarray(i * partBytes, (i + 1) * partBytes),
  )
}
