import { randomInt } from 'node:crypto'

/** Pseudo-random numbers that a seed repeats. */
export interface Prng {
  readonly seed: number
  /** An integer in [0, limit). */
  below(limit: number): number
  pick<T>(choices: readonly T[]): T
  bytes(lengthBytes: number): Buffer
  /** true with this probability. */
  chance(probability: number): boolean
}

/** What a test context can do for us: say the seed, so that a failure can be repeated. */
export interface Diagnosing {
  diagnostic(message: string): void
}

/** A generator for a test, whose seed is printed. To repeat a run, hand that seed over, or set QSFS_TEST_SEED. */
export function seededPrng(t: Diagnosing, seed: number = freshSeed()): Prng {
  t.diagnostic(`seed ${seed}`)
  return prngFromSeed(seed)
}

/** xoshiro128** by Blackman and Vigna, its state filled by splitmix32. */
export function prngFromSeed(seed: number): Prng {
  const mix = splitmix32(seed)
  let a = mix()
  let b = mix()
  let c = mix()
  let d = mix()
  const next = (): number => {
    const times5 = Math.imul(b, 5)
    const result = Math.imul((times5 << 7) | (times5 >>> 25), 9) >>> 0
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = (d << 11) | (d >>> 21)
    return result
  }
  // 53 bits, so that limits above 2^32 are spread evenly too.
  const fraction = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992
  return {
    seed,
    below: limit => Math.floor(fraction() * limit),
    pick(choices) {
      if (choices.length === 0) throw new RangeError('there is nothing to pick from')
      return choices[Math.floor(fraction() * choices.length)]!
    },
    bytes(lengthBytes) {
      const words = new Uint32Array(Math.ceil(lengthBytes / 4))
      for (let i = 0; i < words.length; i++) words[i] = next()
      return Buffer.from(words.buffer, 0, lengthBytes)
    },
    chance: probability => fraction() < probability,
  }
}

function freshSeed(): number {
  return process.env.QSFS_TEST_SEED === undefined ? randomInt(2 ** 32) : Number(process.env.QSFS_TEST_SEED)
}

function splitmix32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let mixed = state ^ (state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    return (mixed ^ (mixed >>> 15)) >>> 0
  }
}
