import assert from 'node:assert'
import { test } from 'node:test'
import { crc32c } from '@qsfs/bytes/checksum'
import { seededPrng } from '@qsfs/testkit/prng'
import { decodeTransaction, encodeTransaction, type Transaction } from './transaction-format.ts'

/** Version 1, byte for byte (docs/formats/transaction.md). */
const golden = {
  bytes: Buffer.from(
    [
      '5154584e', // magic "QTXN"
      '0100', // version 1
      '0000', // reserved
      '0300000000000000', // session 3
      '0500000000000000', // seq 5
      '59000000', // totalBytes 89
      '02000000', // recordCount 2
      '02000000', // addCount 2
      '01000000', // freeCount 1
      '6a00000000000000', // adds 106
      '0000000001000000', // adds 2^32
      '1100000000000000', // frees 17
      '04000000', // valueBytes 4
      '0200', // keyBytes 2
      '6937', // key "i7"
      'deadbeef', // value
      'ffffffff', // valueBytes: absent
      '0300', // keyBytes 3
      '643132', // key "d12"
    ].join(''),
    'hex',
  ),
  transaction: {
    session: 3,
    seq: 5,
    records: new Map([
      ['i7', Buffer.from('deadbeef', 'hex')],
      ['d12', null],
    ]),
    adds: [106, 2 ** 32],
    frees: [17],
  } satisfies Transaction,
}

test('the golden transaction is written and read', () => {
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32LE(crc32c(golden.bytes))
  const whole = Buffer.concat([golden.bytes, checksum])
  assert.equal(encodeTransaction(golden.transaction).toString('hex'), whole.toString('hex'))
  assert.equal(checksum.toString('hex'), '2029653a')
  assert.deepEqual(decodeTransaction(whole), golden.transaction)
})

test('no flipped bit and no cut is taken for a transaction', () => {
  const whole = encodeTransaction(golden.transaction)
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const damaged = Buffer.from(whole)
    damaged[bit >> 3]! ^= 1 << (bit & 7)
    assert.equal(decodeTransaction(damaged), null)
  }
  for (let length = 0; length < whole.length; length++) assert.equal(decodeTransaction(whole.subarray(0, length)), null)
})

test('counts and lengths that do not fit are refused even with a good checksum', t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 20_000; round++) {
    const damaged = encodeTransaction(golden.transaction)
    damaged[prng.below(damaged.length - 4)] = prng.below(256)
    damaged.writeUInt32LE(crc32c(damaged.subarray(0, -4)), damaged.length - 4)
    const decoded = decodeOrRefuse(damaged)
    if (decoded !== null) assert.ok(decoded.records.size <= 2 && decoded.adds.length + decoded.frees.length <= 6)
  }
})

/** A u53 above 2^53 is a RangeError of the layout. */
function decodeOrRefuse(bytes: Buffer): Transaction | null {
  try {
    return decodeTransaction(bytes)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}
