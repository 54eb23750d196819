import assert from 'node:assert'
import { describe, test } from 'node:test'
import { decide, newestDecodable, type Quorum, quorumOf, type Shown } from './quorum.ts'

/** A generation in the model: counter * 100 + attempt; 0 is an empty slot. */
type Generation = number
/** slots[backend][slot] */
type Slots = readonly (readonly Generation[])[]

const compare = (a: Generation, b: Generation) => a - b
const subsetsOf = (n: number) => [...Array(2 ** n).keys()].map(bits => range(n).filter(i => (bits >> i) & 1))
const range = (n: number) => [...Array(n).keys()]

function shownBy(slots: Slots, answering: readonly number[]): Shown<Generation>[] {
  return slots.map((held, backend) => {
    const answers = answering.includes(backend)
    return { generations: answers ? held.filter(generation => generation > 0) : [], whole: answers }
  })
}

type Order = 'later is newer' | 'earlier is newer'
/** Which attempt made a generation; the first is 1 in either order. */
function attemptOf(generation: Generation, order: Order): number {
  const tie = generation % 100
  return order === 'later is newer' || tie === 1 ? tie : 100 - tie
}

interface State {
  readonly slots: Slots
  /** The newest generation that reached the write quorum. */
  readonly committed: Generation
  readonly attempts: number
}

/** Every history of a single writer that crashes anywhere: each attempt reads from any subset of at least W backends,
 *  finishes what is undecided on any subset, and reaches any subset. In each state every subset answers a reader.
 *  `slotCount` 1 is the design that was given up: one key overwritten in place. */
function walkEveryState(
  { k, n, writeQuorum }: Quorum,
  slotCount: 1 | 2,
  attemptsMax: number,
  order: Order = 'later is newer',
) {
  const subsets = subsetsOf(n)
  const everyone = range(n)
  const ask = (slots: Slots, answering: readonly number[]) =>
    decide(shownBy(slots, answering), { k, n, writeQuorum }, compare)
  const found = { states: 0, lost: 0, stale: 0 }
  const seen = new Set<string>()
  const queue: State[] = subsets
    .filter(reached => reached.length >= writeQuorum)
    .map(reached => ({
      slots: everyone.map(i =>
        slotCount === 2 ? [0, reached.includes(i) ? 101 : 0] : [reached.includes(i) ? 101 : 0],
      ),
      committed: 101,
      attempts: 1,
    }))
  const put = (slots: Slots, reached: readonly number[], slot: number, generation: Generation): Slots =>
    slots.map((held, i) => (reached.includes(i) ? held.map((old, at) => (at === slot ? generation : old)) : held))
  const slotOf = (slots: Slots, answering: readonly number[], generation: Generation) =>
    slotCount === 1 ? 0 : [0, 1].find(at => answering.some(i => slots[i]![at] === generation))!

  for (let state = queue.pop(); state !== undefined; state = queue.pop()) {
    const { slots, committed, attempts } = state
    const name = JSON.stringify([slots, committed, attempts])
    if (seen.has(name)) continue
    seen.add(name)
    found.states++
    const full = ask(slots, everyone)
    if (full.kind !== 'take' || attemptOf(full.generation, order) < attemptOf(committed, order)) found.lost++
    for (const answering of subsets) {
      const read = ask(slots, answering)
      if (read.kind === 'none' || (read.kind === 'take' && read.generation < committed)) found.stale++
    }
    if (attempts >= attemptsMax) continue
    for (const answering of subsets) {
      const base = ask(slots, answering)
      if (answering.length < writeQuorum || base.kind !== 'take') continue
      const from = slotOf(slots, answering, base.generation)
      const finished =
        slotCount === 2 && base.shardCount < writeQuorum
          ? subsets.filter(reached => reached.every(i => answering.includes(i)))
          : [[]]
      for (const reached of finished) {
        const caughtUp = put(slots, reached, from, base.generation)
        const holders = everyone.filter(i => caughtUp[i]![from] === base.generation)
        const next = {
          slots: caughtUp,
          committed: holders.length >= writeQuorum ? Math.max(committed, base.generation) : committed,
          attempts: attempts + 1,
        }
        if (slotCount === 2 && holders.filter(i => answering.includes(i)).length < writeQuorum) {
          queue.push(next)
          continue
        }
        const newest = Math.max(...answering.flatMap(i => slots[i]!))
        const tie = order === 'later is newer' ? attempts + 1 : 99 - attempts
        const generation = (Math.floor(newest / 100) + 1) * 100 + tie
        for (const target of subsets.filter(target => target.length > 0)) {
          queue.push({
            slots: put(caughtUp, target, slotCount === 2 ? 1 - from : 0, generation),
            committed: target.length >= writeQuorum ? generation : next.committed,
            attempts: attempts + 1,
          })
        }
      }
    }
  }
  return found
}

describe('the metadata quorum', () => {
  test('2+2: in no state is a committed record lost, or an older one returned', () => {
    const { states, ...bad } = walkEveryState(quorumOf(2, 4), 2, 4)
    assert.deepStrictEqual(bad, { lost: 0, stale: 0 })
    assert.ok(states > 5000, `${states} states`)
  })

  test('the same with three, and with one data shard', () => {
    for (const quorum of [quorumOf(1, 3), quorumOf(2, 3), quorumOf(1, 2), quorumOf(1, 4)]) {
      const { states: _, ...bad } = walkEveryState(quorum, 2, 4)
      assert.deepStrictEqual(bad, { lost: 0, stale: 0 }, JSON.stringify(quorum))
    }
  })

  test('where chance orders two attempts of one counter, committed records are lost: so time is in the counter', () => {
    const lossOf = (quorum: Quorum) => walkEveryState(quorum, 2, 4, 'earlier is newer').lost
    assert.ok(lossOf(quorumOf(1, 3)) > 0)
  })

  test('one slot overwritten in place does lose committed records: the walk can see it', () => {
    assert.ok(walkEveryState(quorumOf(2, 4), 1, 3).lost > 0)
  })

  test('write quorums', () => {
    assert.deepStrictEqual(
      [quorumOf(2, 4), quorumOf(2, 6), quorumOf(1, 1), quorumOf(3, 4)].map(({ writeQuorum }) => writeQuorum),
      [3, 4, 1, 4],
    )
  })

  test('two silent of six: the embedded default still decides', () => {
    const quorum = quorumOf(2, 6)
    const holder = { generations: [7], whole: true }
    const silent = { generations: [], whole: false }
    const empty = { generations: [], whole: true }
    const decided = (shown: Shown<number>[]) => decide(shown, quorum, compare).kind
    assert.strictEqual(decided([silent, silent, holder, holder, empty, empty]), 'take')
    assert.strictEqual(decided([silent, silent, empty, empty, empty, empty]), 'none')
    // One shard seen, three unseen: it may be on four.
    assert.strictEqual(decided([silent, silent, silent, holder, empty, empty]), 'unavailable')
    // Two answer and agree: enough to decode, too few to know that nothing newer exists.
    assert.strictEqual(decided([silent, silent, silent, silent, holder, holder]), 'unavailable')
    assert.strictEqual(newestDecodable([silent, silent, silent, silent, holder, holder], quorum, compare), 7)
  })

  test('a backend with a damaged slot may hold what it does not show, and counts for what it does', () => {
    const quorum = quorumOf(2, 4)
    const damaged = { generations: [5], whole: false }
    const empty = { generations: [], whole: true }
    assert.strictEqual(decide([damaged, empty, empty, empty], quorum, compare).kind, 'none')
    assert.strictEqual(decide([damaged, damaged, empty, empty], quorum, compare).kind, 'take')
    const silent = { generations: [], whole: false }
    assert.strictEqual(decide([damaged, silent, silent, empty], quorum, compare).kind, 'unavailable')
  })
})
