import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { crc32c, crc32cJs, zdbCrc } from './checksum.ts'

test('the check values of both checksums', () => {
  const digits = Buffer.from('123456789')
  assert.equal(crc32c(digits), 0xe3069283)
  assert.equal(crc32cJs(digits), 0xe3069283)
  assert.equal(zdbCrc(digits), 0x58e3fa20)
  // RFC 3720, appendix B.4: 32 bytes of zeros, of ones, ascending.
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
  assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e)
})

test('nothing and zeros: 0-db says 0, CRC-32C does not', () => {
  assert.equal(zdbCrc(Buffer.alloc(0)), 0)
  assert.equal(zdbCrc(Buffer.alloc(4096)), 0)
  assert.equal(crc32c(Buffer.alloc(0)), 0)
  assert.notEqual(crc32c(Buffer.alloc(4096)), 0)
})

test('native and JavaScript agree, whole and in chained pieces', t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 300; round++) {
    const bytes = prng.bytes(prng.below(5000))
    const cut = prng.below(bytes.length + 1)
    const whole = crc32c(bytes)
    assert.equal(crc32cJs(bytes), whole)
    assert.equal(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), whole)
    assert.equal(crc32cJs(bytes.subarray(cut), crc32cJs(bytes.subarray(0, cut))), whole)
  }
})
