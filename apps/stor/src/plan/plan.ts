import type { PlanResult } from '@qsfs/protocol/stor-control'
import type { StorConfig } from '../config.ts'
import { quorumOf } from '../metadata/quorum.ts'
import { choosePlacement, type Redundancy } from '../placement.ts'

/** A data backend that takes shards. */
export interface PlannedBackend {
  readonly name: string
  /** Index of its group. */
  readonly group: number
  /** null: it does not say, or is away. */
  readonly freeBytes: number | null
}

/** What the config promises, from its groups and numbers alone, and what fits, from the free space of its backends. The
 *  config was accepted, so some spread keeps its redundancy. */
export function planOf(
  config: Pick<StorConfig, 'redundancy' | 'writeQuorum' | 'groupNames' | 'metaDataShards' | 'metaBackends'>,
  backends: readonly PlannedBackend[],
): PlanResult {
  const { redundancy, writeQuorum, groupNames } = config
  const { k, n } = redundancy
  const counts = shardCountsOf(backends, redundancy)
  const groups = groupNames.map((name, group) => groupOf(name, group, backends, counts[0] ?? 0))
  const unknownBackends = backends.filter(({ freeBytes }) => freeBytes === null).map(({ name }) => name)
  const { writeQuorum: metaWriteQuorum } = quorumOf(config.metaDataShards, config.metaBackends.length)
  return {
    ...{ k, n, writeQuorum, overhead: n / k, shardCounts: counts },
    losses: lossesOf(counts, redundancy),
    groups,
    tightestGroup: tightestOf(groups),
    capacityBytes: unknownBackends.length > 0 ? null : capacityBytes(backends, redundancy, counts[0] ?? 0),
    unknownBackends,
    ...{ metaK: config.metaDataShards, metaN: config.metaBackends.length, metaWriteQuorum },
  }
}

/** How many shards of an object the groups get, the fullest first. Which group gets how many is drawn anew each time. */
function shardCountsOf(backends: readonly PlannedBackend[], redundancy: Redundancy): number[] {
  const candidates = backends.map(({ name, group }) => ({ name, group, usable: true, freeBytes: null }))
  const { shards } = choosePlacement(candidates, redundancy, redundancy.n, size => Buffer.alloc(size))
  const counts = new Map<number, number>()
  for (const { group } of shards) counts.set(group, (counts.get(group) ?? 0) + 1)
  return [...counts.values()].sort((a, b) => b - a)
}

/** For each number of whole groups that may be lost: how many more backends, any ones, may be lost with them. */
function lossesOf(counts: readonly number[], { k, n }: Redundancy): PlanResult['losses'] {
  const losses: { groupCount: number; backendCount: number }[] = []
  let leftCount = n
  for (let groupCount = 0; groupCount <= counts.length && leftCount >= k; groupCount++) {
    losses.push({ groupCount, backendCount: leftCount - k })
    leftCount -= counts[groupCount] ?? 0
  }
  return losses
}

function groupOf(
  name: string,
  group: number,
  backends: readonly PlannedBackend[],
  fullest: number,
): PlanResult['groups'][number] {
  const members = backends.filter(backend => backend.group === group)
  const free = members.map(({ freeBytes }) => freeBytes)
  const freeBytes = free.includes(null) ? null : free.reduce((sum: number, bytes) => sum + (bytes ?? 0), 0)
  return { name, backendCount: members.length, shardsMax: Math.min(fullest, members.length), freeBytes }
}

/** The group whose loss costs an object most shards; of equal ones the one with the least room. */
function tightestOf(groups: PlanResult['groups']): string {
  const room = ({ freeBytes }: PlanResult['groups'][number]) => freeBytes ?? Number.POSITIVE_INFINITY
  const [tightest] = groups.toSorted((a, b) => {
    if (a.shardsMax !== b.shardsMax) return b.shardsMax - a.shardsMax
    return room(a) === room(b) ? 0 : room(a) - room(b)
  })
  return tightest?.name ?? ''
}

/** Plain bytes that fit in about: the largest shard size x, for which the backends, each taking x at most, and each group as many
 *  as its shards, together take n of them. */
function capacityBytes(backends: readonly PlannedBackend[], { k, n }: Redundancy, fullest: number): number {
  const groups = Map.groupBy(backends, ({ group }) => group)
  const fits = (shardBytes: number) => {
    const taken = groups.values().map(members => {
      const room = members.reduce((sum, { freeBytes }) => sum + Math.min(freeBytes ?? 0, shardBytes), 0)
      return Math.min(room, fullest * shardBytes)
    })
    return taken.reduce((sum, bytes) => sum + bytes, 0) >= n * shardBytes
  }
  let [low, high] = [0, backends.reduce((sum, { freeBytes }) => sum + (freeBytes ?? 0), 0) / n]
  // 60 halvings leave less than a byte of any disk.
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2
    if (fits(middle)) low = middle
    else high = middle
  }
  return Math.floor(low * k)
}
