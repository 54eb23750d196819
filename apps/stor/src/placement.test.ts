import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { type Candidate, choosePlacement, defaultWriteQuorum, survivingShards, unkeepable } from './placement.ts'

const embedded = { k: 4, n: 6, redundantGroups: 1, redundantNodes: 0 }

function pool(groupSizes: readonly number[], change: Partial<Candidate>[] = []): Candidate[] {
  return groupSizes
    .flatMap((size, group) => Array.from({ length: size }, (_, i) => ({ name: `g${group}b${i}`, group })))
    .map((candidate, i) => ({ usable: true, freeBytes: null, ...candidate, ...change[i] }))
}

/** Every way to deal n shards to the groups: the slow truth the greedy choice is compared with. */
function* allSpreads(sizes: readonly number[], n: number): Iterable<number[]> {
  if (sizes.length === 0) {
    if (n === 0) yield []
    return
  }
  for (let count = 0; count <= Math.min(n, sizes[0]!); count++) {
    for (const rest of allSpreads(sizes.slice(1), n - count)) yield [count, ...rest]
  }
}

describe('placement', () => {
  test('spreads the embedded default as 2+2+2', () => {
    const { shards, explanation } = choosePlacement(pool([2, 2, 2]), embedded, 5, randomBytes)
    assert.deepStrictEqual(shards.map(shard => shard.backend).sort(), ['g0b0', 'g0b1', 'g1b0', 'g1b1', 'g2b0', 'g2b1'])
    assert.match(explanation, /6 shards over 3 groups as 2\+2\+2: .* 4 are left and 4 are needed/)
  })

  test('a group cannot lose more shards than it has', () => {
    // zstor's arithmetic wrapped on 0 - 1 and called this valid: 2 groups, one may vanish, all shards in one of them.
    assert.strictEqual(survivingShards([6, 0], { k: 4, n: 6, redundantGroups: 1, redundantNodes: 1 }), 0)
  })

  test('says why a promise cannot be kept', () => {
    assert.strictEqual(unkeepable([2, 2, 2], embedded), null)
    assert.match(unkeepable([2, 2], embedded) ?? '', /only 4 data backends/)
    assert.match(unkeepable([6], embedded) ?? '', /of 1 group,/)
    assert.match(unkeepable([3, 3], embedded) ?? '', /can leave 3 shards, fewer than minimal_shards \(4\)/)
    assert.match(unkeepable([2, 2, 2], { ...embedded, n: 4 }) ?? '', /greater than minimal_shards/)
    assert.match(unkeepable([2, 2, 2], { ...embedded, k: 0 }) ?? '', /at least 1/)
    assert.match(unkeepable([300], { k: 2, n: 300, redundantGroups: 0, redundantNodes: 0 }) ?? '', /at most 255/)
  })

  test('agrees with trying every spread, and what it chooses keeps the promise', t => {
    const prng = seededPrng(t)
    for (let round = 0; round < 400; round++) {
      const sizes = Array.from({ length: 1 + prng.below(4) }, () => 1 + prng.below(4))
      const k = 1 + prng.below(5)
      const redundancy = { k, n: k + 1 + prng.below(4), redundantGroups: prng.below(3), redundantNodes: prng.below(3) }
      const possible =
        redundancy.redundantGroups < sizes.length &&
        [...allSpreads(sizes, redundancy.n)].some(counts => survivingShards(counts, redundancy) >= k)
      assert.strictEqual(unkeepable(sizes, redundancy) === null, possible, JSON.stringify({ sizes, redundancy }))
      if (!possible) continue
      const { shards } = choosePlacement(pool(sizes), redundancy, redundancy.n, prng.bytes.bind(prng))
      assert.strictEqual(new Set(shards.map(shard => shard.backend)).size, redundancy.n)
      const counts = sizes.map((_, group) => shards.filter(shard => shard.group === group).length)
      assert.ok(survivingShards(counts, redundancy) >= k)
    }
  })

  test('prefers backends with more room', () => {
    const change = [{ freeBytes: 100 }, { freeBytes: 1 }, { freeBytes: 100 }, { freeBytes: 1 }]
    const redundancy = { k: 1, n: 2, redundantGroups: 0, redundantNodes: 0 }
    let roomy = 0
    for (let round = 0; round < 200; round++) {
      const { shards } = choosePlacement(pool([2, 2], change), redundancy, 2, randomBytes)
      roomy += shards.filter(shard => shard.backend.endsWith('b0')).length
    }
    assert.ok(roomy > 350, `${roomy} of 400`)
  })

  test('leaves out a backend that is away when others do, else owes it its shard', () => {
    const away = [{ usable: false }]
    const spare = choosePlacement(pool([3, 2, 2], away), embedded, 5, randomBytes)
    assert.ok(spare.shards.every(shard => shard.backend !== 'g0b0' && !shard.owed))
    const thin = choosePlacement(pool([2, 2, 2], away), embedded, 5, randomBytes)
    assert.deepStrictEqual(
      thin.shards.filter(shard => shard.owed).map(shard => shard.backend),
      ['g0b0'],
    )
    assert.match(thin.explanation, /1 wait for backends that are away or full/)
  })

  test('owes as few shards as any spread that keeps the promise', t => {
    const prng = seededPrng(t)
    let owing = 0
    for (let round = 0; round < 400; round++) {
      const sizes = Array.from({ length: 1 + prng.below(4) }, () => 1 + prng.below(4))
      const k = 1 + prng.below(4)
      const redundancy = { k, n: k + 1 + prng.below(4), redundantGroups: prng.below(3), redundantNodes: prng.below(2) }
      if (unkeepable(sizes, redundancy) !== null) continue
      const candidates = pool(sizes).map(candidate => ({ ...candidate, usable: prng.below(4) > 0 }))
      const usableOf = (group: number) => candidates.filter(one => one.usable && one.group === group).length
      const owedOf = (counts: readonly number[]) =>
        counts.reduce((sum, count, group) => sum + Math.max(0, count - usableOf(group)), 0)
      const legal = [...allSpreads(sizes, redundancy.n)].filter(counts => survivingShards(counts, redundancy) >= k)
      const { shards } = choosePlacement(candidates, redundancy, 0, prng.bytes.bind(prng))
      const counts = sizes.map((_, group) => shards.filter(shard => shard.group === group).length)
      assert.ok(survivingShards(counts, redundancy) >= k)
      const owed = shards.filter(shard => shard.owed).length
      assert.strictEqual(
        owed,
        Math.min(...legal.map(owedOf)),
        JSON.stringify({ sizes, redundancy, counts, candidates }),
      )
      if (owed > 0) owing++
    }
    assert.ok(owing > 20, String(owing))
  })

  test('refuses below the write quorum, and says who hinders', () => {
    assert.deepStrictEqual([defaultWriteQuorum(4, 6), defaultWriteQuorum(2, 4), defaultWriteQuorum(16, 20)], [5, 3, 18])
    assert.deepStrictEqual([defaultWriteQuorum(1, 2), defaultWriteQuorum(4, 7)], [2, 6])
    const hindered = [{ usable: false, hindrance: 'is full' }, { usable: false }]
    const place = (writeQuorum: number) =>
      choosePlacement(pool([2, 2, 2], hindered), embedded, writeQuorum, randomBytes).shards
    assert.throws(() => place(5), {
      reason: 'too-few-shards',
      message: /only 4 of the 6 .* at least 5 must be: g0b0 is full, g0b1 is away$/,
    })
    assert.strictEqual(place(4).filter(({ owed }) => owed).length, 2)
  })
})
