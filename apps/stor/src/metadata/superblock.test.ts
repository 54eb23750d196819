import assert from 'node:assert'
import test from 'node:test'
import { KeyRing } from '@qsfs/crypto/keys'
import { Secret } from '@qsfs/crypto/secret'
import { seededPrng } from '@qsfs/testkit/prng'
import { encodeSuperblock, newSuperblock, openSuperblock, peekSuperblock } from './superblock.ts'

test('a store opens with its master, and says when the master is another', t => {
  const random = seededPrng(t)
  const master = Secret.random(random.bytes)
  const superblock = newSuperblock(['b1', '', 'unix:/run/b2', 'b3'], 2, null, random.bytes)
  const bytes = encodeSuperblock(superblock, [master])
  const { keys, ...rest } = openSuperblock(bytes, master, random.bytes)
  const { keys: expectedKeys, ...expected } = superblock
  assert.deepEqual(rest, { ...expected, isShared: false })
  assert.deepEqual(keys.nameHash('x'), expectedKeys.nameHash('x'))
  assert.throws(() => openSuperblock(bytes, Secret.random(random.bytes), random.bytes), { reason: 'wrong-key' })
})

test('while the master is being changed both open it', t => {
  const random = seededPrng(t)
  const masters = [Secret.random(random.bytes), Secret.random(random.bytes)]
  const superblock = newSuperblock(['b1'], 1, null, random.bytes)
  const bytes = encodeSuperblock(superblock, masters)
  for (const master of masters) {
    const { keys, isShared } = openSuperblock(bytes, master, random.bytes)
    assert.deepEqual(keys.nameHash('x'), superblock.keys.nameHash('x'))
    assert.equal(isShared, true)
  }
})

/** Every flipped bit and every cut of `bytes` is refused as damage. */
function assertGuarded(bytes: Buffer, open: (bytes: Buffer) => unknown) {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const hurt = Buffer.from(bytes)
    hurt[bit >> 3]! ^= 1 << (bit & 7)
    assert.throws(() => open(hurt), { reason: 'damaged' }, `bit ${bit}`)
  }
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => open(bytes.subarray(0, length)), { reason: 'damaged' })
  }
}

test('no flipped bit and no cut goes unnoticed, and damage is never called a wrong key', t => {
  const random = seededPrng(t)
  const master = Secret.random(random.bytes)
  const bytes = encodeSuperblock(newSuperblock(['b1', 'b2'], 1, null, random.bytes), [master])
  assertGuarded(bytes, hurt => openSuperblock(hurt, master, random.bytes))
})

test('nor with two roots, two masters and a passphrase', t => {
  const random = seededPrng(t)
  const masters = [Secret.random(random.bytes), Secret.random(random.bytes)] as const
  const passphrase = { memoryKiB: 64, passes: 1, lanes: 1, salt: random.bytes(16) }
  const plain = newSuperblock(['b1'], 1, passphrase, random.bytes)
  const bytes = encodeSuperblock({ ...plain, keys: plain.keys.grown() }, masters)
  const opened = openSuperblock(bytes, masters[1], random.bytes)
  assert.deepEqual([opened.keys.rootIds, opened.passphrase, opened.isShared], [[1, 2], passphrase, true])
  assert.deepEqual(peekSuperblock(bytes), { storeId: plain.storeId, counter: 1, passphrase })
  assertGuarded(bytes, hurt => openSuperblock(hurt, masters[1], random.bytes))
  assert.throws(() => openSuperblock(bytes, Secret.random(random.bytes), random.bytes), { reason: 'wrong-key' })
})

test('random bytes are damage, and cost nothing', t => {
  const random = seededPrng(t)
  const master = Secret.random(random.bytes)
  const whole = encodeSuperblock(newSuperblock(['b1'], 1, null, random.bytes), [master])
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.concat([whole.subarray(0, random.below(80)), random.bytes(random.below(400))])
    assert.throws(() => openSuperblock(bytes, master, random.bytes), { reason: 'damaged' })
  }
})

test('golden: a superblock with one member', () => {
  let next = 0
  const counting = (lengthBytes: number) => Buffer.from(Array.from({ length: lengthBytes }, () => next++ & 0xff))
  const keys = new KeyRing(new Map([[1, new Secret(Buffer.alloc(32, 0x22))]]), counting)
  const master = new Secret(Buffer.alloc(32, 0x11))
  const storeId = Buffer.alloc(16, 0xab)
  const identity = { storeId, counter: 5, memberSet: 2, dataShards: 0, members: ['b1'], passphrase: null }
  const bytes = encodeSuperblock({ ...identity, keys }, [master])
  const expected = [
    '51535342', // magic "QSSB"
    '01000000', // version 1
    'ab'.repeat(16), // store id
    '0500000000000000', // counter 5
    '02000000', // member set 2
    '01000000', // 1 wrapped root key
    '5e000000', // 94 bytes of sealed members
    '0000', // no passphrase
    '0000', // k not said
    '00000000', // its memory
    '00000000', // its passes
    '00000000', // its lanes
    '00000000', // its check
    '00'.repeat(16), // its salt
    // root key 1 under the master, docs/formats/keys.md
    '01000000010000008a5de7816ef13611bec58cc5a97aa3b98b570c063bba3441c32e0154e20fabdf0001020304050607' +
      '08090a0b0c0d0e0f1011121314151617c4e796540915524dfa3c3480b5e361a083fd06c15df173e9a812458b838ac540' +
      '91d1d8902ac80491b2558c5aa08849def769fbe9',
    // "01000000 02000000 6231" sealed under the root's records key
    '010000000100000002485654f96a37a3abfa773b04dd969651bcbe85505195ae49148d92710904f218191a1b1c1d1e1f' +
      '202122232425262728292a2b2c2d2e2fb60ab0d0ad3accd984b23ab8dc44506f545b0fcaddfd783ec60a92066116',
  ].join('')
  assert.equal(bytes.toString('hex'), expected)
})
