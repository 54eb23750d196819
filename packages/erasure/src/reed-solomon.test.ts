import assert from 'node:assert'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { SimdKernel } from './kernel.ts'
import { type MaybeShard, ReedSolomon } from './reed-solomon.ts'

test('parity is that of the reed-solomon-erasure crate for every (k, m) with k + m <= 20', t => {
  const random = seededPrng(t)
  const oracle = loadOracle()
  let triedCount = 0
  for (let k = 1; k < 20; k++) {
    for (let m = 1; k + m <= 20; m++, triedCount++) {
      const shardBytes = 1 + random.below(200)
      const ours = randomStripe(random, k, m, shardBytes)
      const theirs = new Uint8Array(Buffer.concat(ours))
      new ReedSolomon(k, m).encode(ours)
      assert.equal(oracle.encode(theirs, k, m), 0)
      assert.ok(Buffer.concat(ours).equals(theirs), `parity differs at ${k}+${m}`)
    }
  }
  assert.equal(triedCount, 190)
})

test('what the crate reconstructs, we reconstruct alike (k != m: it crashes there otherwise)', t => {
  const random = seededPrng(t)
  for (const [k, m] of [
    [4, 2],
    [16, 4],
    [3, 5],
    [10, 6],
  ] as const) {
    // Freed memory is used again inside it after its first call, so each call gets an instance of its own.
    const oracle = loadOracle()
    const code = new ReedSolomon(k, m)
    const stripe = randomStripe(random, k, m, 100)
    code.encode(stripe)
    const lost = chooseSome(random, k + m, m)
    const theirs = new Uint8Array(
      Buffer.concat(stripe.map((shard, i) => (lost.has(i) ? Buffer.alloc(100, 0xee) : shard))),
    )
    assert.equal(
      oracle.reconstruct(
        theirs,
        k,
        m,
        stripe.map((_, i) => !lost.has(i)),
      ),
      0,
    )
    const ours: MaybeShard[] = stripe.map((shard, i) => (lost.has(i) ? null : shard))
    code.reconstruct(ours, 100, 'data')
    assert.ok(Buffer.concat(ours.slice(0, k) as Buffer[]).equals(theirs.subarray(0, k * 100)))
  }
})

test('4+2 survives every loss it promises to survive, and refuses the others', t => {
  const random = seededPrng(t)
  const code = new ReedSolomon(4, 2)
  const stripe = randomStripe(random, 4, 2, 1000)
  code.encode(stripe)
  for (let mask = 0; mask < 64; mask++) {
    const shards: MaybeShard[] = stripe.map((shard, i) => ((mask >> i) & 1 ? null : shard))
    if (shards.filter(shard => shard !== null).length < 4) {
      assert.throws(() => code.reconstruct(shards, 1000), { name: 'RangeError', message: /4 are needed/ })
    } else {
      code.reconstruct(shards, 1000)
      assert.deepEqual(
        shards.map(shard => Buffer.from(shard!)),
        stripe,
      )
    }
  }
})

test('random shapes survive random losses', t => {
  const random = seededPrng(t)
  const kernel = new SimdKernel()
  for (let round = 0; round < 300; round++) {
    const k = 1 + random.below(random.chance(0.02) ? 200 : 20)
    const m = random.below(Math.min(30, 257 - k))
    const shardBytes = random.below(500)
    const code = new ReedSolomon(k, m, kernel)
    const stripe = randomStripe(random, k, m, shardBytes)
    code.encode(stripe)
    const lost = chooseSome(random, k + m, random.below(m + 1))
    const shards: MaybeShard[] = stripe.map((shard, i) => (lost.has(i) ? null : shard))
    code.reconstruct(shards, shardBytes)
    assert.deepEqual(
      shards.map(shard => Buffer.from(shard!)),
      stripe,
      `${k}+${m}, lost ${[...lost]}`,
    )
  }
})

test('wanting only data leaves lost parity alone', t => {
  const random = seededPrng(t)
  const code = new ReedSolomon(2, 2)
  const stripe = randomStripe(random, 2, 2, 10)
  code.encode(stripe)
  const shards: MaybeShard[] = [null, stripe[1]!, null, stripe[3]!]
  code.reconstruct(shards, 10, 'data')
  assert.deepEqual(Buffer.from(shards[0]!), stripe[0])
  assert.equal(shards[2], null)
})

test('hostile shapes are refused, never computed', () => {
  for (const [k, m] of [
    [0, 1],
    [-1, 3],
    [1, -1],
    [1.5, 1],
    [256, 1],
    [1, 256],
    [Number.NaN, 1],
    [1, Infinity],
  ] as const) {
    assert.throws(() => new ReedSolomon(k, m), RangeError, `${k}+${m}`)
  }
  const code = new ReedSolomon(2, 1)
  assert.throws(() => code.reconstruct([null, new Uint8Array(4)], 4), RangeError)
  assert.throws(() => code.reconstruct([null, new Uint8Array(4), new Uint8Array(5)], 4), RangeError)
  assert.throws(() => code.encode([new Uint8Array(4), new Uint8Array(4)]), assert.AssertionError)
  assert.throws(() => code.encode([new Uint8Array(4), new Uint8Array(4), new Uint8Array(3)]), assert.AssertionError)
})

interface Oracle {
  encode(shards: Uint8Array, dataShards: number, parityShards: number): number
  reconstruct(shards: Uint8Array, dataShards: number, parityShards: number, available: boolean[]): number
}

/** The same Rust crate, compiled to WASM by others. */
function loadOracle(): Oracle {
  const require = createRequire(import.meta.url)
  const { ReedSolomonErasure } = require('@subspace/reed-solomon-erasure.wasm') as {
    ReedSolomonErasure: { fromBytes(bytes: Uint8Array): Oracle }
  }
  const entry = require.resolve('@subspace/reed-solomon-erasure.wasm')
  return ReedSolomonErasure.fromBytes(readFileSync(entry.replace('index.js', 'reed_solomon_erasure_bg.wasm')))
}

function randomStripe(random: Prng, k: number, m: number, shardBytes: number): Buffer[] {
  return Array.from({ length: k + m }, (_, i) => (i < k ? random.bytes(shardBytes) : Buffer.alloc(shardBytes)))
}

function chooseSome(random: Prng, fromCount: number, count: number): Set<number> {
  const chosen = new Set<number>()
  while (chosen.size < count) chosen.add(random.below(fromCount))
  return chosen
}
