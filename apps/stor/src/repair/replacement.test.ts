import assert from 'node:assert'
import test from 'node:test'
import type { Candidate } from '../placement.ts'
import { chooseReplacement, planMoves } from './replacement.ts'

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

test('shards whose places do not keep the promise move to where it holds, as few as do', () => {
  const moves = (on: string, free: string, k: number, unmovable = '') => {
    const shards = on.split(' ').map((backend, index) => ({ index, backend }))
    const pool = [...on.split(' '), ...free.split(' ').filter(name => name !== '')].map(name => candidate(name))
    const planned = planMoves(shards, pool, { ...redundancy, k }, name => !unmovable.includes(name))
    return planned.map(({ index, backend }) => `${shards[index]!.backend}>${backend}`)
  }
  // Losing group a leaves one of four, with three there.
  assert.deepStrictEqual(moves('a1 a2 a3 b1', 'b2 c1', 2).length, 1)
  assert.match(moves('a1 a2 a3 b1', 'c1', 2)[0]!, /^a\d>c1$/)
  assert.deepStrictEqual(moves('a1 a2 a3 b1', 'c1', 2, 'a1 a3'), ['a2>c1'])
  // It holds already; nothing is free; nothing free is better.
  assert.deepStrictEqual(moves('a1 a2 b1 b2', 'c1', 2), [])
  assert.deepStrictEqual(moves('a1 a2 a3 b1', '', 2), [])
  assert.deepStrictEqual(moves('a1 a2 a3 b1', 'a4', 2), [])
  // The first of two moves alone gains nothing.
  const two = moves('a1 a2 a3 b1 b2 b3', 'c1 c2', 4)
  assert.deepStrictEqual(two.map(move => move[0]).sort(), ['a', 'b'])
  // Of two that would be needed there is room for one, which gains nothing.
  assert.deepStrictEqual(moves('a1 a2 a3 b1 b2 b3', 'c1', 4), [])
  // One that is to be repaired first.
  const pool = [candidate('a1'), candidate('b1')]
  assert.deepStrictEqual(
    planMoves([{ index: 0, backend: 'gone' }], pool, redundancy, () => true),
    [],
  )
})
