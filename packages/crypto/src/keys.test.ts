import assert from 'node:assert'
import { hkdfSync } from 'node:crypto'
import test from 'node:test'
import { inspect } from 'node:util'
import { seededPrng } from '@qsfs/testkit/prng'
import { KeyRing, unwrapRoot, wrapRoot } from './keys.ts'
import { Secret } from './secret.ts'

/** Random bytes that count: 00 01 02 …, for fixtures. */
function counting(): (lengthBytes: number) => Buffer {
  let next = 0
  return lengthBytes => Buffer.from(Array.from({ length: lengthBytes }, () => next++ & 0xff))
}

test('derived keys are HKDF-SHA-256 as node has it', t => {
  const random = seededPrng(t)
  for (let round = 0; round < 20; round++) {
    const bytes = random.bytes(32)
    const expected = Buffer.from(hkdfSync('sha256', bytes, Buffer.alloc(0), `label ${round}`, 32))
    assert.deepEqual(new Secret(bytes).derive(`label ${round}`).expose(), expected)
  }
})

test('golden: a root key wrapped under a master secret', () => {
  const master = new Secret(Buffer.alloc(32, 0x11))
  const root = new Secret(Buffer.alloc(32, 0x22))
  const wrapped = wrapRoot(master, 1, root, counting())
  const expected = [
    '01000000', // version 1
    '01000000', // key id 1
    '8a5de7816ef13611bec58cc5a97aa3b98b570c063bba3441c32e0154e20fabdf', // commitment to the wrapping key and the nonce
    '000102030405060708090a0b0c0d0e0f1011121314151617', // nonce
    'c4e796540915524dfa3c3480b5e361a083fd06c15df173e9a812458b838ac540', // the root key, sealed
    '91d1d8902ac80491b2558c5aa08849de', // Poly1305 tag
    'f769fbe9', // CRC-32 of all before
  ].join('')
  assert.equal(wrapped.toString('hex'), expected)
  const { rootId, root: opened } = unwrapRoot(master, wrapped)
  assert.equal(rootId, 1)
  assert.deepEqual(opened.expose(), root.expose())
})

test('golden: a name hash, and it depends on the first root key only', () => {
  const first = new Secret(Buffer.alloc(32, 0x33))
  const ring = new KeyRing(new Map([[1, first]]), counting())
  assert.equal(ring.nameHash('data/d7').toString('hex'), 'ce406cbee35244546cfaf8d8d8dcdfac')
  const rotated = new KeyRing(
    new Map([
      [1, first],
      [2, new Secret(Buffer.alloc(32, 0x44))],
    ]),
    counting(),
  )
  assert.deepEqual(rotated.nameHash('data/d7'), ring.nameHash('data/d7'))
})

test('another master is the wrong key; changing the master changes no other key', t => {
  const random = seededPrng(t)
  const oldMaster = Secret.random(random.bytes)
  const newMaster = Secret.random(random.bytes)
  const ring = KeyRing.fresh(random.bytes)
  const [wrapped] = ring.wrapRoots(oldMaster)
  assert.throws(() => unwrapRoot(newMaster, wrapped!), { reason: 'wrong-key' })
  const { rootId, root } = unwrapRoot(oldMaster, wrapped!)
  const again = unwrapRoot(newMaster, wrapRoot(newMaster, rootId, root, random.bytes))
  const sealed = ring.sealRecord(Buffer.from('record'), Buffer.from('7'))
  const reopened = new KeyRing(new Map([[again.rootId, again.root]]), random.bytes)
  assert.equal(reopened.openRecord(sealed, Buffer.from('7')).toString(), 'record')
  assert.throws(() => reopened.openRecord(sealed, Buffer.from('8')), { reason: 'damaged' })
  assert.throws(() => KeyRing.fresh(random.bytes).openRecord(sealed, Buffer.from('7')), { reason: 'wrong-key' })
})

test('an object key belongs to its object, and every object has its own', t => {
  const random = seededPrng(t)
  const ring = KeyRing.fresh(random.bytes)
  const objectId = random.bytes(16)
  const { keys, wrappedKey } = ring.newObjectKeys(objectId)
  assert.deepEqual(ring.openObjectKeys(wrappedKey, objectId).frames.expose(), keys.frames.expose())
  assert.throws(() => ring.openObjectKeys(wrappedKey, random.bytes(16)), { reason: 'damaged' })
  assert.throws(() => ring.openObjectKeys(wrappedKey.subarray(1), objectId), { reason: 'damaged' })
  assert.throws(() => KeyRing.fresh(random.bytes).openObjectKeys(wrappedKey, objectId), { reason: 'wrong-key' })
  assert.notDeepEqual(ring.newObjectKeys(objectId).keys.frames.expose(), keys.frames.expose())
  const three = [keys.frames, keys.pieces, keys.headers].map(key => key.expose().toString('hex'))
  assert.equal(new Set(three).size, 3)
})

test('after a rotation of the root the newest seals and all open', t => {
  const random = seededPrng(t)
  const first = Secret.random(random.bytes)
  const oldRing = new KeyRing(new Map([[1, first]]), random.bytes)
  const newRing = new KeyRing(
    new Map([
      [1, first],
      [2, Secret.random(random.bytes)],
    ]),
    random.bytes,
  )
  const context = Buffer.from('c')
  const oldRecord = oldRing.sealRecord(Buffer.from('old'), context)
  assert.equal(newRing.openRecord(oldRecord, context).toString(), 'old')
  assert.throws(() => oldRing.openRecord(newRing.sealRecord(Buffer.from('new'), context), context), {
    reason: 'wrong-key',
    message: /root key 2/,
  })
})

test('a secret prints as stars, however it is printed', () => {
  const secret = new Secret(Buffer.alloc(32, 0x5a))
  for (const text of [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { showHidden: true }),
  ]) {
    assert.match(text, /\*\*\*/)
    assert.doesNotMatch(text, /5a5a|90, 90|ZZ/)
  }
})

test('a grown ring seals under the new root and opens what the old one sealed; names stay', t => {
  const random = seededPrng(t)
  const ring = KeyRing.fresh(random.bytes)
  const objectId = random.bytes(16)
  const { keys, wrappedKey } = ring.newObjectKeys(objectId)
  const name = ring.nameHash('/a')
  assert.equal(ring.rewrapObjectKey(wrappedKey, objectId), null)
  const grown = ring.grown()
  assert.deepEqual([ring.newestRootId, grown.newestRootId], [1, 2])
  ring.adopt(grown)
  const rewrapped = ring.rewrapObjectKey(wrappedKey, objectId)!
  assert.deepEqual(ring.openObjectKeys(rewrapped, objectId).frames.expose(), keys.frames.expose())
  assert.deepEqual(ring.openObjectKeys(wrappedKey, objectId).frames.expose(), keys.frames.expose())
  assert.deepEqual(ring.nameHash('/a'), name)
  assert.equal(ring.rewrapObjectKey(rewrapped, objectId), null)
  assert.throws(() => ring.adopt(KeyRing.fresh(random.bytes)), /a grown ring/)
})
