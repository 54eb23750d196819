import assert from 'node:assert'
import test from 'node:test'
import type { Candidate } from '../placement.ts'
import { chooseReplacement } from './replacement.ts'

/** "a1" is in group 0, "b2" in group 1, … */
function candidate(name: string, freeBytes: number | null = 100, usable = true): Candidate {
  return { name, group: name.charCodeAt(0) - 'a'.charCodeAt(0), usable, freeBytes }
}

const redundancy = { k: 2, n: 4, redundantGroups: 1, redundantNodes: 0 }

test('the group that keeps the promise goes before the one with most room', () => {
  const all = [
    candidate('a1'),
    candidate('a2', 9999),
    candidate('b1'),
    candidate('b2'),
    candidate('c1'),
    candidate('c2'),
  ]
  // One in each group: any is as good, and a2 has most room.
  assert.strictEqual(chooseReplacement(all, new Set(['a1', 'b1', 'c1']), redundancy)?.name, 'a2')
  assert.strictEqual(chooseReplacement(all, new Set(['a1', 'b1', 'b2']), redundancy)?.name, 'c1')
})

test('most room breaks ties; what is taken, away or full is not chosen', () => {
  const all = [
    candidate('a1'),
    candidate('b1', 50),
    candidate('b2', 70),
    candidate('b3', null),
    candidate('b4', 900, false),
  ]
  assert.strictEqual(chooseReplacement(all, new Set(['a1']), redundancy)?.name, 'b2')
  assert.strictEqual(chooseReplacement(all, new Set(['a1', 'b2']), redundancy)?.name, 'b1')
  assert.strictEqual(chooseReplacement(all, new Set(['a1', 'b1', 'b2', 'b3']), redundancy), null)
})
