import assert from 'node:assert'
import { describe, test } from 'node:test'
import { type PlannedBackend, planOf } from './plan.ts'
import { planText } from './plan-text.ts'

const GiB = 2 ** 30
const redundancy = { k: 4, n: 6, redundantGroups: 1, redundantNodes: 0 }
const others = { writeQuorum: 5, metaDataShards: 2, metaBackends: [1, 2, 3, 4, 5, 6].map(String).map(toMeta) }

function toMeta(name: string) {
  return {
    name,
    address: '',
    namespace: '',
    password: null,
    adminPasswordFile: null,
    tlsFingerprint: null,
    tlsCaFile: null,
    drain: false,
  }
}

/** Backends with this many GiB free, by group. */
function backends(groups: readonly (readonly (number | null)[])[]): PlannedBackend[] {
  return groups.flatMap((free, group) =>
    free.map((gib, i) => ({ name: `g${group}b${i}`, group, freeBytes: gib === null ? null : gib * GiB })),
  )
}

describe('a plan', () => {
  test('says what may be lost, what it costs and what fits', () => {
    const plan = planOf(
      { redundancy, groupNames: ['eu-1', 'eu-2', 'us'], ...others },
      backends([
        [9, 9],
        [2, 3],
        [9, 9],
      ]),
    )
    assert.deepStrictEqual(plan.losses, [
      { groupCount: 0, backendCount: 2 },
      { groupCount: 1, backendCount: 0 },
    ])
    assert.strictEqual(
      planText(plan),
      `placement: 6 shards of each object over 3 groups as 2+2+2, any 4 rebuild it
survives any 2 backends, or any 1 group; group eu-2 is the tightest
stores while 5 of those 6 backends answer; what is owed is written when they are back
overhead: 1.50 bytes for each byte
capacity: about 8 GiB more
metadata: any 2 of 6 rebuild a record, ${plan.metaWriteQuorum} must confirm one: 4 backends may be lost
group eu-1: 2 backends, up to 2 shards of an object, 18 GiB free
group eu-2: 2 backends, up to 2 shards of an object, 5 GiB free
group us: 2 backends, up to 2 shards of an object, 18 GiB free
`,
    )
  })

  test('with more backends than shards the roomier ones take more', () => {
    const more = backends([
      [4, 4, 4],
      [4, 4, 4],
      [4, 4, 4],
    ])
    // 36 GiB hold 24 GiB at 1.5 bytes for each.
    const { capacityBytes } = planOf({ redundancy, groupNames: ['a', 'b', 'c'], ...others }, more)
    assert.ok(Math.abs((capacityBytes ?? 0) - 24 * GiB) < 100, String(capacityBytes))
    const wide = { ...redundancy, n: 7, redundantGroups: 0 }
    const plan = planOf(
      { redundancy: wide, groupNames: ['a', 'b', 'c'], ...others },
      backends([
        [4, 4, 4],
        [4, 4, 4],
        [4, null],
      ]),
    )
    assert.deepStrictEqual([plan.capacityBytes, plan.unknownBackends], [null, ['g2b1']])
    assert.match(planText(plan), /survives any 3 backends, or any 1 group; group a is/)
  })
})
