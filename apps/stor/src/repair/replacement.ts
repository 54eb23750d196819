import { type Candidate, type Redundancy, survivingShards } from '../placement.ts'

/** Where a shard goes whose own place is no longer: a usable backend that holds no other shard of the object, in the
 *  group that leaves most shards after the losses that are promised to be survived; most free space breaks ties.
 *  @param taken names of the backends that hold the object's other shards, or will
 *  @param keepsPromise only with which the object then survives those losses; else any place is better than none
 *  @returns null when there is no such backend */
export function chooseReplacement(
  candidates: readonly Candidate[],
  taken: ReadonlySet<string>,
  redundancy: Redundancy,
  { keepsPromise = false }: { readonly keepsPromise?: boolean } = {},
): Candidate | null {
  const counts = new Map<number, number>()
  for (const { name, group } of candidates) if (taken.has(name)) counts.set(group, (counts.get(group) ?? 0) + 1)
  const survivors = ({ group }: Candidate) => {
    const after = new Map(counts).set(group, (counts.get(group) ?? 0) + 1)
    return survivingShards([...after.values()], redundancy)
  }
  const free = candidates.filter(({ name, usable }) => usable && !taken.has(name))
  const better = (a: Candidate, b: Candidate) =>
    survivors(b) - survivors(a) || (counts.get(a.group) ?? 0) - (counts.get(b.group) ?? 0) || roomOf(b) - roomOf(a)
  const [best] = free.toSorted(better)
  return best === undefined || (keepsPromise && survivors(best) < redundancy.k) ? null : best
}

/** Where shards should rather be, for an object whose places do not keep the promise, nothing better having been free when
 *  they were chosen: as few moves as make it survive more. None when it keeps the promise, or nothing better is free.
 *  @param shards all of the object's, each on a candidate, or what is to be repaired comes first
 *  @param movable whether a shard may leave this backend */
export function planMoves(
  shards: readonly { readonly index: number; readonly backend: string }[],
  candidates: readonly Candidate[],
  redundancy: Redundancy,
  movable: (backend: string) => boolean,
): { readonly index: number; readonly backend: string }[] {
  const groups = new Map(candidates.map(({ name, group }) => [name, group]))
  const counts = new Map<number, number>()
  for (const { backend } of shards) {
    const group = groups.get(backend)
    if (group === undefined) return []
    counts.set(group, (counts.get(group) ?? 0) + 1)
  }
  const free = new Set(candidates.filter(({ name, usable }) => usable && shards.every(one => one.backend !== name)))
  const staying = new Map(shards.filter(({ backend }) => movable(backend)).map(one => [one.index, one]))
  const moves: { index: number; backend: string }[] = []
  let worth = worthOf(counts, redundancy)
  let best = { survivors: worth.survivors, moveCount: 0 }
  while (best.survivors < redundancy.k) {
    const step = bestStep(staying.values(), free, groups, counts, redundancy)
    if (step === null || isNoWorse(worth, step.worth)) break
    moves.push({ index: step.shard.index, backend: step.to.name })
    staying.delete(step.shard.index)
    free.delete(step.to)
    shift(counts, groups.get(step.shard.backend)!, step.to.group)
    worth = step.worth
    if (worth.survivors > best.survivors) best = { survivors: worth.survivors, moveCount: moves.length }
  }
  return moves.slice(0, best.moveCount)
}

/** How good counts of shards by group are: who survives as many is better when they are more even, from where the next
 *  move may lead further. */
interface Worth {
  readonly survivors: number
  readonly unevenness: number
}

function worthOf(counts: ReadonlyMap<number, number>, redundancy: Redundancy): Worth {
  const all = [...counts.values()]
  return { survivors: survivingShards(all, redundancy), unevenness: all.reduce((sum, count) => sum + count ** 2, 0) }
}

/** Whether `a` is at least as good as `b`. */
function isNoWorse(a: Worth, b: Worth): boolean {
  return a.survivors > b.survivors || (a.survivors === b.survivors && a.unevenness <= b.unevenness)
}

function bestStep(
  staying: Iterable<{ readonly index: number; readonly backend: string }>,
  free: Iterable<Candidate>,
  groups: ReadonlyMap<string, number>,
  counts: ReadonlyMap<number, number>,
  redundancy: Redundancy,
) {
  const shards = [...new Map([...staying].map(shard => [groups.get(shard.backend)!, shard])).entries()]
  const roomiest = [...free].sort((a, b) => roomOf(a) - roomOf(b))
  const places = [...new Map(roomiest.map(to => [to.group, to])).values()]
  const steps = shards.flatMap(([from, shard]) =>
    places.map(to => ({ shard, to, worth: worthOf(shift(new Map(counts), from, to.group), redundancy) })),
  )
  const [first, ...others] = steps
  return first === undefined ? null : others.reduce((a, b) => (isNoWorse(a.worth, b.worth) ? a : b), first)
}

function shift(counts: Map<number, number>, from: number, to: number): Map<number, number> {
  counts.set(from, (counts.get(from) ?? 0) - 1)
  return counts.set(to, (counts.get(to) ?? 0) + 1)
}

/** One that does not say how much room it has comes after those that do. */
const roomOf = ({ freeBytes }: Candidate) => freeBytes ?? 0
