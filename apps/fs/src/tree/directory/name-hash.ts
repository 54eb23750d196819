/** A name's place in its directory: 46 bits of hash and 7 bits that tell names of the same hash apart, one safe integer.
 *  readdir goes in this order, and a cookie never changes while the name lives. */
export const hashBits = 46
export const hashesMax = 2 ** hashBits
export const collisionsMax = 128

/** 46 bits of a seeded hash: two lanes of multiply-and-mix as in MurmurHash3's finalizer. The seed is the directory's own, so
 *  nobody can prepare names that meet without reading it. */
export function nameHash(name: string, seed: number): number {
  let a = seed ^ 0x9e3779b9
  let b = Math.imul(seed, 0x85ebca6b) ^ 0xc2b2ae35
  for (let index = 0; index < name.length; index++) {
    const byte = name.charCodeAt(index)
    a = Math.imul(a ^ byte, 0x9e3779b1)
    b = Math.imul(b ^ byte, 0x5f356495)
    a ^= b >>> 15
  }
  a = mix(a ^ (b >>> 7))
  b = mix(b ^ a)
  return (b & 0x3fff) * 0x1_0000_0000 + (a >>> 0)
}

/** The 4 bits of a hash that choose the child at `depth`. */
export function nibbleAt(hash: number, depth: number): number {
  return Math.floor(hash / 2 ** (hashBits - 4 * (depth + 1))) % 16
}

function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
