import { formatSize } from '@qsfs/bytes/units'
import type { PlanResult } from '@qsfs/protocol/stor-control'

/** A plan for people. */
export function planText(plan: PlanResult): string {
  const { k, n, writeQuorum, overhead, shardCounts, groups, tightestGroup, capacityBytes, unknownBackends } = plan
  const { metaK, metaN, metaWriteQuorum } = plan
  const size = (bytes: number | null) => (bytes === null ? 'not known' : formatSize(bytes))
  return [
    `placement: ${n} shards of each object over ${count(shardCounts.length, 'group')} as ${shardCounts.join('+')}, any ${k} rebuild it\n`,
    `survives ${lossesText(plan.losses)}; group ${tightestGroup} is the tightest\n`,
    `stores while ${writeQuorum} of those ${n} backends answer; what is owed is written when they are back\n`,
    `overhead: ${overhead.toFixed(2)} bytes for each byte\n`,
    capacityBytes === null
      ? `capacity: not known, for these do not say how much room they have: ${unknownBackends.join(', ')}\n`
      : `capacity: about ${formatSize(capacityBytes)} more\n`,
    `metadata: any ${metaK} of ${metaN} rebuild a record, ${metaWriteQuorum} must confirm one: ${count(metaN - metaK, 'backend')} may be lost\n`,
    ...groups.map(({ name, backendCount, shardsMax, freeBytes }) => {
      return `group ${name}: ${count(backendCount, 'backend')}, up to ${count(shardsMax, 'shard')} of an object, ${size(freeBytes)} free\n`
    }),
  ].join('')
}

/** "any 2 backends, or any 1 group" */
function lossesText(losses: PlanResult['losses']): string {
  const texts = losses.flatMap(({ groupCount, backendCount }) => {
    if (groupCount === 0) return backendCount === 0 ? [] : [`any ${count(backendCount, 'backend')}`]
    const more = backendCount === 0 ? '' : ` and any ${count(backendCount, 'backend')} more`
    return [`any ${count(groupCount, 'group')}${more}`]
  })
  return texts.length === 0 ? 'no loss at all' : texts.join(', or ')
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
