import assert from 'node:assert'
import test from 'node:test'
import { inverse, multiply, nibbleTables, power } from './gf256.ts'

test('multiplication is carry-less multiplication modulo 0x11d', () => {
  for (let a = 0; a < 256; a++) for (let b = 0; b < 256; b++) assert.equal(multiply(a, b), bitwiseProduct(a, b))
})

test('every element but 0 has an inverse', () => {
  for (let a = 1; a < 256; a++) assert.equal(multiply(a, inverse(a)), 1)
  assert.throws(() => inverse(0), RangeError)
})

test('powers are repeated products, and 0 to the 0 is 1', () => {
  for (let a = 0; a < 256; a++) {
    let expected = 1
    for (let n = 0; n < 300; n++, expected = multiply(expected, a)) assert.equal(power(a, n), expected)
  }
})

test('the nibble tables multiply', () => {
  for (let c = 0; c < 256; c++) {
    for (let byte = 0; byte < 256; byte++) {
      const low = nibbleTables[c * 32 + (byte & 15)]!
      const high = nibbleTables[c * 32 + 16 + (byte >> 4)]!
      assert.equal(low ^ high, multiply(c, byte))
    }
  }
})

function bitwiseProduct(a: number, b: number): number {
  let sum = 0
  for (let bit = 0; bit < 8; bit++) if ((b >> bit) & 1) sum ^= a << bit
  for (let bit = 14; bit >= 8; bit--) if ((sum >> bit) & 1) sum ^= 0x11d << (bit - 8)
  return sum
}
