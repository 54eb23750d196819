import { createRequire } from 'node:module'

/** CRC-32C (Castagnoli) as everyone computes it: initial value and final xor all ones. Chainable:
 *  `crc32c(b, crc32c(a))` is the checksum of a ‖ b.
 *  @returns an unsigned 32-bit number */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  // A call of native code costs 300 ns, in which JavaScript is done with a short one.
  if (native === null || bytes.length < nativeBytesMin) return crc32cJs(bytes, previous)
  return native.crc32c(bytes, previous)
}

const nativeBytesMin = 256

/** 0-db's payload checksum: CRC-32C with initial value 0 and no final xor.
 *  @see specs of 0-db: `zdb_crc32` over the payload; "123456789" gives 58e3fa20 */
export function zdbCrc(bytes: Uint8Array): number {
  return ~crc32c(bytes, 0xffffffff) >>> 0
}

/** The same as `crc32c` without native code, slicing by 8: the fallback and the oracle. 0.7-1.3 GB/s where the native one makes 4.8. */
export function crc32cJs(bytes: Uint8Array, previous = 0): number {
  let crc = ~previous
  let at = 0
  for (const end = bytes.length - 7; at < end; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    crc =
      table[0x700 + (crc & 0xff)]! ^
      table[0x600 + ((crc >>> 8) & 0xff)]! ^
      table[0x500 + ((crc >>> 16) & 0xff)]! ^
      table[0x400 + (crc >>> 24)]! ^
      table[0x300 + bytes[at + 4]!]! ^
      table[0x200 + bytes[at + 5]!]! ^
      table[0x100 + bytes[at + 6]!]! ^
      table[bytes[at + 7]!]!
  }
  for (; at < bytes.length; at++) crc = table[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}

/** The Castagnoli polynomial, bits reversed. */
const polynomial = 0x82f63b78

/** Eight tables of 256: table k holds the CRC of a byte followed by k zero bytes. */
const table = makeTable()

function makeTable(): Int32Array {
  const made = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    made[byte] = crc
  }
  for (let i = 256; i < made.length; i++) {
    const before = made[i - 256]!
    made[i] = made[before & 0xff]! ^ (before >>> 8)
  }
  return made
}

interface NativeCrc {
  crc32c(input: Uint8Array, initialState?: number): number
}

/** null where no prebuilt binary fits the machine. */
const native = loadNative()

function loadNative(): NativeCrc | null {
  try {
    return createRequire(import.meta.url)('@node-rs/crc32') as NativeCrc
  } catch {
    // The loader throws plain errors of many shapes; whatever it was, the JavaScript below computes the same numbers.
    return null
  }
}
