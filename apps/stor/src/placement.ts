import assert from 'node:assert'
import { formatCount } from '@qsfs/bytes/units'
import type { RandomSource } from '@qsfs/concurrency/clock'
import { StorError } from './errors.ts'

/** What the config promises: k of n shards rebuild an object, and it survives the loss of `redundantGroups` whole groups
 *  together with `redundantNodes` backends in each group that is left. */
export interface Redundancy {
  readonly k: number
  readonly n: number
  readonly redundantGroups: number
  readonly redundantNodes: number
}

/** A backend that could hold a shard. */
export interface Candidate {
  readonly name: string
  /** Index of its failure domain. */
  readonly group: number
  /** It is up and has room for a shard. */
  readonly usable: boolean
  /** Why it is not usable: "is down", "is full". */
  readonly hindrance?: string
  /** null: it does not say; it is then drawn like an average one. */
  readonly freeBytes: number | null
}

/** Shard i goes to `shards[i]`. An `owed` shard belongs to a backend that is away or full now; repair writes it later. */
export interface Placement {
  readonly shards: readonly { readonly backend: string; readonly group: number; readonly owed: boolean }[]
  /** One sentence: how the shards are spread and what that survives. */
  readonly explanation: string
}

/** How many shards each group gets. */
type Spread = readonly { readonly group: number; readonly shardCount: number }[]

/** Shards left when the fullest `redundantGroups` groups are gone and `redundantNodes` backends in each other one.
 *  A group cannot lose more shards than it has: zstor's unsigned u - rn wrapped there and accepted anything. */
export function survivingShards(shardCounts: readonly number[], redundancy: Redundancy): number {
  return descending(shardCounts)
    .slice(redundancy.redundantGroups)
    .reduce((sum, shardCount) => sum + Math.max(0, shardCount - redundancy.redundantNodes), 0)
}

/** The reason why no spread over groups of these sizes keeps the redundancy, or null when one does. */
export function unkeepable(groupSizes: readonly number[], redundancy: Redundancy): string | null {
  const { k, n, redundantGroups, redundantNodes } = redundancy
  if (k < 1) return 'minimal_shards must be at least 1'
  if (n <= k) return `expected_shards (${n}) must be greater than minimal_shards (${k}), or nothing may be lost`
  if (n > 255) return `expected_shards (${n}) must be at most 255`
  const total = groupSizes.reduce((sum, size) => sum + size, 0)
  if (total < n) return `expected_shards is ${n}, but only ${total} data backends are configured`
  if (redundantGroups >= groupSizes.length) {
    return `redundant_groups is ${redundantGroups}, of ${formatCount(groupSizes.length, 'group')}, and one must be left`
  }
  const best = bestCounts(groupSizes, redundancy)
  const surviving = best === null ? 0 : survivingShards(best, redundancy)
  if (surviving >= k) return null
  return (
    `with ${n} shards over groups of ${groupSizes.join(', ')} backends, losing ${formatCount(redundantGroups, 'group')} and ` +
    `${formatCount(redundantNodes, 'backend')} of each other one can leave ${formatCount(surviving, 'shard')}, fewer than minimal_shards (${k}); ` +
    'raise expected_shards, add backends or groups, or lower the redundancy'
  )
}

/** Shards that must be confirmed for an object to count as stored, unless the config says another number: half of what
 *  may be lost is still there to be lost. */
export function defaultWriteQuorum(k: number, n: number): number {
  return k + Math.ceil((n - k) / 2)
}

/** Chooses n different backends that keep the redundancy, those with more free space more often.
 *
 *  Backends that are away or full are taken only when the others do not suffice, as few as keep the redundancy; their
 *  shards are `owed`.
 *  @param writeQuorum how many of them must be usable
 *  @throws StorError 'refused' when no choice keeps the promise at all, 'too-few-shards' below the write quorum */
export function choosePlacement(
  candidates: readonly Candidate[],
  redundancy: Redundancy,
  writeQuorum: number,
  random: RandomSource,
): Placement {
  const usable = candidates.filter(candidate => candidate.usable)
  const order = drawnOrder(candidates, random)
  const spread = drawnSpread(usable, redundancy, order) ?? drawnSpread(candidates, redundancy, order)
  if (spread === null) {
    const reason = unkeepable(sizesOf(candidates), redundancy)
    throw new StorError('refused', `no placement keeps the redundancy: ${reason ?? 'unknown'}`)
  }
  const chosen = spread.flatMap(({ group, shardCount }) =>
    order.filter(candidate => candidate.group === group).slice(0, shardCount),
  )
  const confirmable = chosen.filter(candidate => candidate.usable).length
  if (confirmable < writeQuorum) {
    const hindered = chosen.flatMap(({ name, hindrance = 'is away', usable }) =>
      usable ? [] : [`${name} ${hindrance}`],
    )
    throw new StorError(
      'too-few-shards',
      `only ${confirmable} of the ${redundancy.n} backends an object needs can be written now, ` +
        `at least ${writeQuorum} must be: ${hindered.sort().join(', ')}`,
    )
  }
  return { shards: shuffled(chosen, random).map(toShard), explanation: explain(spread, redundancy, confirmable) }
}

const toShard = ({ name, group, usable }: Candidate) => ({ backend: name, group, owed: !usable })
const descending = (counts: readonly number[]) => counts.toSorted((a, b) => b - a)

/** The shard counts, largest first, that leave most survivors; null: no room for n shards. */
function bestCounts(groupSizes: readonly number[], redundancy: Redundancy): number[] | null {
  return triedCounts(groupSizes, redundancy).reduce<number[] | null>((best, counts) => {
    const better = best === null || survivingShards(counts, redundancy) > survivingShards(best, redundancy)
    return better ? counts : best
  }, null)
}

/** Shard counts that fit these groups, each largest first; evenest first: on equal survivors it also takes small accidents
 *  best. Two families. Evenly over the largest groups, for each number of groups: it makes the groups that may vanish
 *  light. And the largest groups filled up to a level, for each level: each group in use costs `redundantNodes`, so few
 *  full ones can be better. A test compares what they are good for with every spread there is. */
function triedCounts(groupSizes: readonly number[], { n }: Redundancy): number[][] {
  const sizes = descending(groupSizes)
  const numbers = Array.from({ length: n }, (_, i) => i + 1)
  return [
    ...sizes.map((_, i) => evenCounts(sizes.slice(0, sizes.length - i), n)),
    ...numbers.map(level => levelCounts(sizes, level, n)),
  ].filter(counts => counts !== null)
}

/** Deals n shards one at a time to a group that has fewest. */
function evenCounts(sizes: readonly number[], n: number): number[] | null {
  const counts = sizes.map(() => 0)
  for (let dealt = 0; dealt < n; dealt++) {
    const open = counts.map((count, i) => (count < sizes[i]! ? count : n))
    const lightest = open.indexOf(Math.min(...open))
    if (open[lightest] === n) return null
    counts[lightest]!++
  }
  return descending(counts)
}

/** Fills one group after the other up to `level`. */
function levelCounts(sizes: readonly number[], level: number, n: number): number[] | null {
  let left = n
  const counts = sizes.map(size => {
    const count = Math.min(size, level, left)
    left -= count
    return count
  })
  return left === 0 ? descending(counts) : null
}

/** Of the counts that keep the redundancy those that owe fewest shards, and of these the ones that leave most survivors;
 *  dealt to groups in drawn order, those with most usable backends first. Null when none keeps it. Only the counts decide
 *  that, so any group large enough may take any of them. */
function drawnSpread(pool: readonly Candidate[], redundancy: Redundancy, order: readonly Candidate[]): Spread | null {
  const sizes = sizesOf(pool)
  const usable = sizesOf(pool.filter(candidate => candidate.usable))
  const usableOf = (group: number) => usable[group] ?? 0
  const groups = [...new Set(order.map(({ group }) => group))].sort((a, b) => usableOf(b) - usableOf(a))
  const owedOf = (spread: Spread) =>
    spread.reduce((sum, { group, shardCount }) => sum + Math.max(0, shardCount - usableOf(group)), 0)
  const [best] = triedCounts(sizes, redundancy)
    .map(counts => ({ counts, survivors: survivingShards(counts, redundancy) }))
    .filter(({ survivors }) => survivors >= redundancy.k)
    .map(({ counts, survivors }) => {
      const spread = lessOwed(dealt(counts, sizes, groups), usableOf, redundancy)
      return { spread, survivors, owedCount: owedOf(spread) }
    })
    .sort((a, b) => a.owedCount - b.owedCount || b.survivors - a.survivors)
  return best?.spread ?? null
}

/** Largest first: a group that can take a count can take every later one, so this never runs out. */
function dealt(counts: readonly number[], sizes: readonly number[], groups: readonly number[]): Spread {
  const left = new Set(groups)
  const taken = counts.map(shardCount => {
    const group = left.values().find(candidate => (sizes[candidate] ?? 0) >= shardCount)
    assert(group !== undefined)
    left.delete(group)
    return { group, shardCount }
  })
  return [...taken, ...[...left].map(group => ({ group, shardCount: 0 }))]
}

/** Moves owed shards, one at a time, to usable backends of other groups, as long as that keeps the redundancy. */
function lessOwed(spread: Spread, usableOf: (group: number) => number, redundancy: Redundancy): Spread {
  for (const from of spread) {
    if (from.shardCount <= usableOf(from.group)) continue
    for (const to of spread) {
      if (to.shardCount >= usableOf(to.group)) continue
      const moved = spread.map(one => {
        const change = Number(one === to) - Number(one === from)
        return { group: one.group, shardCount: one.shardCount + change }
      })
      const counts = moved.map(({ shardCount }) => shardCount)
      if (survivingShards(counts, redundancy) >= redundancy.k) return lessOwed(moved, usableOf, redundancy)
    }
  }
  return spread
}

/** Backends per group, by group index. */
function sizesOf(candidates: readonly Candidate[]): number[] {
  const sizes = new Array<number>(Math.max(0, ...candidates.map(({ group }) => group + 1))).fill(0)
  for (const { group } of candidates) sizes[group] = (sizes[group] ?? 0) + 1
  return sizes
}

/** All candidates, usable ones first, each class in an order drawn with probability proportional to free space
 *  (weighted sampling without replacement: sort by u^(1/w); Efraimidis and Spirakis, 2006). */
function drawnOrder(candidates: readonly Candidate[], random: RandomSource): Candidate[] {
  const known = candidates.flatMap(({ freeBytes }) => (freeBytes === null ? [] : [freeBytes]))
  const average = known.length === 0 ? 1 : known.reduce((sum, free) => sum + free, 0) / known.length
  return candidates
    .map(candidate => ({
      candidate,
      // The logarithm of u^(1/w): the weights are byte counts, whose powers would all round to 1.
      draw: Math.log(uniform(random)) / Math.max(1, candidate.freeBytes ?? average),
    }))
    .sort((a, b) => Number(b.candidate.usable) - Number(a.candidate.usable) || b.draw - a.draw)
    .map(({ candidate }) => candidate)
}

/** Above 0, at most 1. */
function uniform(random: RandomSource): number {
  return (random(6).readUIntLE(0, 6) + 1) / 2 ** 48
}

/** Which backend holds data and which parity is drawn too: reads then load all of them alike. */
function shuffled<T>(values: readonly T[], random: RandomSource): T[] {
  return values
    .map(value => ({ value, draw: uniform(random) }))
    .sort((a, b) => a.draw - b.draw)
    .map(({ value }) => value)
}

function explain(spread: Spread, redundancy: Redundancy, confirmable: number): string {
  const counts = spread.map(({ shardCount }) => shardCount).filter(shardCount => shardCount > 0)
  const owed = redundancy.n - confirmable
  return (
    `${redundancy.n} shards over ${formatCount(counts.length, 'group')} as ${counts.join('+')}: after losing ` +
    `${formatCount(redundancy.redundantGroups, 'group')} and ${formatCount(redundancy.redundantNodes, 'backend')} of each other one, ` +
    `${survivingShards(counts, redundancy)} are left and ${redundancy.k} are needed` +
    (owed > 0 ? `; ${owed} wait for backends that are away or full` : '')
  )
}
