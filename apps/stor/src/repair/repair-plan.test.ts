import assert from 'node:assert'
import test from 'node:test'
import type { ObjectRecord } from '../metadata/object-record.ts'
import type { Candidate } from '../placement.ts'
import { planRepair } from './repair-plan.ts'

const redundancy = { k: 2, n: 4, redundantGroups: 1, redundantNodes: 0 }

/** "a1" is in group 0, "b2" in group 1, … */
function candidates(names: string, unusable: readonly string[] = []): Candidate[] {
  return names.split(' ').map(name => {
    const group = name.charCodeAt(0) - 'a'.charCodeAt(0)
    return { name, group, usable: !unusable.includes(name), freeBytes: 100 }
  })
}

function plan(
  on: string,
  lost: readonly number[],
  pool: Candidate[],
  { down = [] as string[], givenUp = [] as string[], owed = [] as number[] } = {},
) {
  const shards = on.split(' ').map((backend, index) => ({ index, backend, confirmed: !owed.includes(index) }))
  const view = {
    isKnown: (name: string) => pool.some(one => one.name === name),
    isDown: (name: string) => down.includes(name) || givenUp.includes(name),
    isGivenUp: (name: string) => givenUp.includes(name),
    isDraining: () => false,
    wasEmptied: () => false,
  }
  return planRepair({ shards } as unknown as ObjectRecord, lost, pool, view, redundancy)
}

test('a bad shard is written where it was; one on a full backend, or one that is gone, goes elsewhere', () => {
  const all = 'a1 a2 b1 b2 c1 c2'
  assert.deepStrictEqual(plan('a1 b1 c1 c2', [0], candidates(all)).targets, [{ index: 0, backend: 'a1' }])
  assert.deepStrictEqual(plan('a1 b1 c1 c2', [0], candidates(all, ['a1'])).targets, [{ index: 0, backend: 'a2' }])
  assert.deepStrictEqual(plan('x1 b1 c1 c2', [0], candidates('a2 b1 c1 c2')).targets, [{ index: 0, backend: 'a2' }])
  const none = plan('a1 b1 c1 c2', [0], candidates('a1 b1 c1 c2', ['a1']))
  assert.deepStrictEqual([none.targets, none.pending], [[], 'a1 has no room'])
  assert.match(plan('x1 b1 c1 c2', [0], candidates('b1 c1 c2')).pending, /no backend has room for a shard of x1/)
})

test('two lost shards never go to one place', () => {
  const { targets } = plan('a1 b1 c1 c2', [0, 1], candidates('a1 a2 b1 c1 c2', ['a1']))
  assert.deepStrictEqual(targets.map(({ backend }) => backend).sort(), ['a2', 'b1'])
  const both = plan('x1 y1 c1 c2', [0, 1], candidates('a1 c1 c2'))
  assert.deepStrictEqual([both.targets.length, both.pending], [1, 'no backend has room for a shard of y1'])
})

test('what is down is waited for until it is given up, and then moves only where the promise holds', () => {
  const all = 'a1 a2 b1 b2 c1 c2'
  const down = plan('a1 b1 c1 c2', [0], candidates(all, ['a1']), { down: ['a1'], owed: [0] })
  assert.deepStrictEqual([down.targets, down.pending], [[], 'a1 is down'])
  const givenUp = plan('a1 b1 c1 c2', [0], candidates(all, ['a1']), { givenUp: ['a1'] })
  assert.deepStrictEqual(givenUp.targets, [{ index: 0, backend: 'a2' }])
  // Only c3 is free: with three shards in group c, its loss would leave one.
  const spared = candidates('a1 b1 c1 c2 c3', ['a1'])
  assert.deepStrictEqual(plan('a1 b1 c1 c2', [0], spared, { givenUp: ['a1'] }), {
    targets: [],
    staying: [0],
    pending: '',
  })
  // One that was never written is missed all the same.
  assert.strictEqual(plan('a1 b1 c1 c2', [0], spared, { givenUp: ['a1'], owed: [0] }).pending, 'a1 is down')
  // A shard that is rewritten in its own place counts as being there.
  const two = plan('a1 b1 c1 c2', [0, 1], candidates(all, ['a1']), { givenUp: ['a1'] })
  assert.deepStrictEqual(two.targets, [
    { index: 0, backend: 'a2' },
    { index: 1, backend: 'b1' },
  ])
})
