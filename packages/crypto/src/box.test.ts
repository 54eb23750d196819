import assert from 'node:assert'
import test from 'node:test'
import { crc32 } from 'node:zlib'
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js'
import { seededPrng } from '@qsfs/testkit/prng'
import { boxKeyId, openBox, sealBox } from './box.ts'
import { Secret } from './secret.ts'

const context = Buffer.from('test')

test('XChaCha20-Poly1305 is that of draft-irtf-cfrg-xchacha-03, A.3.1', () => {
  const key = Buffer.from(Array.from({ length: 32 }, (_, i) => 0x80 + i))
  const nonce = Buffer.from(Array.from({ length: 24 }, (_, i) => 0x40 + i))
  const associated = Buffer.from('50515253c0c1c2c3c4c5c6c7', 'hex')
  const plain = Buffer.from(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  )
  const sealed = Buffer.from(xchacha20poly1305(key, nonce, associated).encrypt(plain))
  assert.equal(sealed.subarray(0, 8).toString('hex'), 'bd6d179d3e83d43b')
  assert.equal(sealed.subarray(-16).toString('hex'), 'c0875924c1c7987947deafd8780acf49')
})

test('a wrong key is told apart from damage, whichever bit is hurt', t => {
  const random = seededPrng(t)
  const key = Secret.random(random.bytes)
  const plain = random.bytes(40)
  const box = sealBox(key, 3, plain, context, random.bytes)
  assert.equal(boxKeyId(box), 3)
  assert.deepEqual(openBox(key, box, context), plain)
  assert.throws(() => openBox(Secret.random(random.bytes), box, context), { reason: 'wrong-key' })
  assert.throws(() => openBox(key, box, Buffer.from('else')), { reason: 'damaged' })
  for (let bit = 0; bit < box.length * 8; bit++) {
    const flipped = Buffer.from(box)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.throws(() => openBox(key, flipped, context), { reason: 'damaged' })
  }
  for (let length = 0; length < box.length; length++) {
    assert.throws(() => openBox(key, box.subarray(0, length), context), { reason: 'damaged' })
  }
})

test('bytes changed on purpose, with a fitting checksum, do not open either', t => {
  const random = seededPrng(t)
  const key = Secret.random(random.bytes)
  const box = sealBox(key, 1, random.bytes(40), context, random.bytes)
  for (let at = 0; at < box.length - 4; at++) {
    const forged = Buffer.from(box)
    forged[at]! ^= 0x10
    forged.writeUInt32LE(crc32(forged.subarray(0, -4)), forged.length - 4)
    assert.throws(() => openBox(key, forged, context), { name: 'KeyError' })
  }
})

test('sealing twice never gives the same bytes', t => {
  const random = seededPrng(t)
  const key = Secret.random(random.bytes)
  const seal = () => sealBox(key, 1, context, context, random.bytes)
  assert.notDeepEqual(seal(), seal())
})
