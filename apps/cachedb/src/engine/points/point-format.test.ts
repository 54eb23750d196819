import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c } from '@qsfs/bytes/checksum'
import { seededPrng } from '@qsfs/testkit/prng'
import { FormatError } from '../../segment/format.ts'
import { decodePoint, type Point, pointBody, pointHeader } from './point-format.ts'

const point: Point = {
  number: 58,
  previous: 57,
  epoch: 0,
  timestampSeconds: 1_700_000_000,
  namespaces: [
    {
      name: 'data',
      incarnation: Buffer.from('0123456789abcdef', 'hex'),
      nextId: 7,
      settings: { mode: 'sequential', public: true, worm: false, maxBytes: 4096, password: '' },
      segments: [
        { segmentId: 5, dataBytes: 79, salt: 0xdecade01, objectId: '00112233445566778899aabbccddeeff' },
        { segmentId: 6, dataBytes: 1000, salt: null, objectId: 'ffeeddccbbaa99887766554433221100' },
      ],
    },
    {
      name: 'meta',
      incarnation: Buffer.from('fedcba9876543210', 'hex'),
      nextId: 3,
      settings: { mode: 'user', public: false, worm: true, maxBytes: 0, password: 'p\xff' },
      segments: [],
    },
  ],
}

const golden = [
  '51535031 01000000', // "QSP1", version
  '3a00000000000000 3900000000000000 0000000000000000', // number, previous, epoch
  '00f1536500000000', // of the cut
  '02000000 8c00000000000000', // namespaces, bytes of the body
  'c6111b50 00000000 3948cad1', // CRC of the body, 0, CRC of the 60 bytes before
  '0123456789abcdef 0700000000000000 0010000000000000', // incarnation, next id, quota
  '02000000 0400 0000 01 01 0000', // segments, bytes of the name, of the password, sequential, public
  '64617461', // "data"
  '05000000 4f000000 01decade 01 00112233445566778899aabbccddeeff', // segment, bytes, salt, marked, object
  '06000000 e8030000 00000000 00 ffeeddccbbaa99887766554433221100', // made by 0-db: no salt
  'fedcba9876543210 0300000000000000 0000000000000000',
  '00000000 0400 0200 00 02 0000', // no segments, user keys, private and worm
  '6d657461 70ff', // "meta", the password's bytes
].join('')
const file = Buffer.from(golden.replaceAll(' ', ''), 'hex')

test('golden: a point, written and read', () => {
  const body = [...pointBody(point)]
  assert.equal(Buffer.concat([pointHeader(point, body), ...body]).toString('hex'), file.toString('hex'))
  assert.deepEqual(decodePoint(file), point)
})

test('a bit flipped or a byte missing anywhere is noticed', () => {
  for (let at = 0; at < file.length; at++) {
    const damaged = Buffer.from(file)
    damaged[at]! ^= 1 << (at % 8)
    assert.throws(() => decodePoint(damaged), FormatError, `byte ${at}`)
    assert.throws(() => decodePoint(file.subarray(0, at)), FormatError, `${at} bytes`)
  }
  assert.throws(() => decodePoint(Buffer.concat([file, Buffer.alloc(1)])), FormatError)
})

test('lies with right checksums end in an error, not in memory', t => {
  const prng = seededPrng(t)
  for (let n = 0; n < 5_000; n++) {
    const lie = Buffer.from(file)
    const field = prng.pick([8, 12, 40, 64 + 8, 64 + 12, 64 + 24, 64 + 28, 64 + 30, 64 + 36 + 4 + prng.below(58)])
    if (prng.chance(0.5)) lie.writeUInt16LE(prng.below(65_536), field)
    else lie.writeUInt32LE(prng.pick([0, 1, 3, 0x7fffffff, 0xffffffff, prng.below(2 ** 32)]), field)
    lie.writeUInt32LE(crc32c(lie.subarray(64)), 52)
    lie.writeUInt32LE(crc32c(lie.subarray(0, 60)), 60)
    try {
      decodePoint(lie)
    } catch (error) {
      assert(error instanceof FormatError, `${error} for ${lie.toString('hex')}`)
    }
  }
})

test('a point of many segments comes in pieces', () => {
  const segments = Array.from({ length: 10_000 }, (_, segmentId) => {
    return { segmentId, dataBytes: segmentId, salt: segmentId, objectId: segmentId.toString(16).padStart(32, '0') }
  })
  const large: Point = { ...point, namespaces: [{ ...point.namespaces[0]!, segments }] }
  const body = [...pointBody(large)]
  assert.equal(body.length, 4)
  assert.deepEqual(decodePoint(Buffer.concat([pointHeader(large, body), ...body])), large)
})
