import assert from 'node:assert'
import test from 'node:test'
import { KeyRing } from '@qsfs/crypto/keys'
import { Secret } from '@qsfs/crypto/secret'
import { seededPrng } from '@qsfs/testkit/prng'
import { encodeSuperblock, newSuperblock, openSuperblock } from './superblock.ts'

test('a store opens with its master, and says when the master is another', t => {
  const random = seededPrng(t)
  const master = Secret.random(random.bytes)
  const superblock = newSuperblock(['b1', 'unix:/run/b2', 'b3'], random.bytes)
  const bytes = encodeSuperblock(superblock, [master])
  const { keys, ...rest } = openSuperblock(bytes, master, random.bytes)
  const { keys: expectedKeys, ...expected } = superblock
  assert.deepEqual(rest, expected)
  assert.deepEqual(keys.nameHash('x'), expectedKeys.nameHash('x'))
  assert.throws(() => openSuperblock(bytes, Secret.random(random.bytes), random.bytes), { reason: 'wrong-key' })
})

test('while the master is being changed both open it', t => {
  const random = seededPrng(t)
  const masters = [Secret.random(random.bytes), Secret.random(random.bytes)]
  const superblock = newSuperblock(['b1'], random.bytes)
  const bytes = encodeSuperblock(superblock, masters)
  for (const master of masters) {
    assert.deepEqual(openSuperblock(bytes, master, random.bytes).keys.nameHash('x'), superblock.keys.nameHash('x'))
  }
})

test('no flipped bit and no cut goes unnoticed, and damage is never called a wrong key', t => {
  const random = seededPrng(t)
  const master = Secret.random(random.bytes)
  const bytes = encodeSuperblock(newSuperblock(['b1', 'b2'], random.bytes), [master])
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const hurt = Buffer.from(bytes)
    hurt[bit >> 3]! ^= 1 << (bit & 7)
    assert.throws(() => openSuperblock(hurt, master, random.bytes), { reason: 'damaged' }, `bit ${bit}`)
  }
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => openSuperblock(bytes.subarray(0, length), master, random.bytes), { reason: 'damaged' })
  }
})

test('golden: a superblock with one member', () => {
  let next = 0
  const counting = (lengthBytes: number) => Buffer.from(Array.from({ length: lengthBytes }, () => next++ & 0xff))
  const keys = new KeyRing(new Map([[1, new Secret(Buffer.alloc(32, 0x22))]]), counting)
  const master = new Secret(Buffer.alloc(32, 0x11))
  const storeId = Buffer.alloc(16, 0xab)
  const bytes = encodeSuperblock({ storeId, counter: 5, memberSet: 2, members: ['b1'], keys }, [master])
  const expected = [
    '51535342', // magic "QSSB"
    '01000000', // version 1
    'ab'.repeat(16), // store id
    '0500000000000000', // counter 5
    '02000000', // member set 2
    '01000000', // 1 wrapped root key
    '5e000000', // 94 bytes of sealed members
    '00000000', // no passphrase
    '00000000', // its memory
    '00000000', // its passes
    '00000000', // its lanes
    '00000000', // reserved
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
