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

/** One that does not say how much room it has comes after those that do. */
const roomOf = ({ freeBytes }: Candidate) => freeBytes ?? 0
