/** The field GF(2^8) of byte-wise erasure codes: addition is xor, multiplication is modulo a polynomial. */

/** x^8 + x^4 + x^3 + x^2 + 1, which makes 2 a generator (Plank's tutorial, the reed-solomon-erasure crate, JavaReedSolomon). */
const polynomial = 0x11d

const exponentials = new Uint8Array(510)
const logarithms = new Uint8Array(256)
for (let exponent = 0, value = 1; exponent < 255; exponent++) {
  exponentials[exponent] = value
  // Twice, so that the sum of two logarithms needs no modulo.
  exponentials[exponent + 255] = value
  logarithms[value] = exponent
  value = value & 0x80 ? (value << 1) ^ polynomial : value << 1
}

export function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : exponentials[logarithms[a]! + logarithms[b]!]!
}

/** @throws RangeError for 0, which has no inverse */
export function inverse(a: number): number {
  if (a === 0) throw new RangeError('0 has no inverse')
  return exponentials[255 - logarithms[a]!]!
}

/** a to the power n; 0 to the power 0 is 1. */
export function power(a: number, n: number): number {
  if (n === 0) return 1
  return a === 0 ? 0 : exponentials[(logarithms[a]! * n) % 255]!
}

/** 32 bytes per coefficient c: c times 0..15, then c times 0x00, 0x10, …, 0xf0. A byte's product is the xor of what
 *  its two nibbles select, which a SIMD swizzle does for 16 bytes at once. */
export const nibbleTables: Uint8Array = new Uint8Array(256 * 32)
for (let coefficient = 0; coefficient < 256; coefficient++) {
  for (let nibble = 0; nibble < 16; nibble++) {
    nibbleTables[coefficient * 32 + nibble] = multiply(coefficient, nibble)
    nibbleTables[coefficient * 32 + 16 + nibble] = multiply(coefficient, nibble << 4)
  }
}
