import { FindingKind } from './findings.ts'
import type { FsckReport, ReportedFinding } from './fsck.ts'

/** So many of a kind are shown; --json has more. */
const shownMax = 20

/** For people. */
export function reportText({
  inodeCount,
  recordCount,
  waitingOrphans,
  problems,
  problemCounts,
  repaired,
}: FsckReport): string {
  const lines = [`${inodeCount} inodes in ${recordCount} records`]
  if (waitingOrphans > 0) lines.push(`${waitingOrphans} unlinked files are still open, or go with the next mount`)
  for (const [kind, found] of byKind(repaired)) lines.push(...group(`repaired: ${kind}`, kind, found, found.length))
  for (const [kind, found] of byKind(problems)) lines.push(...group(kind, kind, found, problemCounts[kind] ?? 0))
  const left = Object.values(problemCounts).reduce((sum, count) => sum + count, 0)
  if (left === 0) lines.push(repaired.length === 0 ? 'clean' : `clean after ${repaired.length} repairs`)
  else lines.push(`${left} problems${advice(problems)}`)
  return `${lines.join('\n')}\n`
}

function byKind(findings: readonly ReportedFinding[]): Map<FindingKind, readonly ReportedFinding[]> {
  return Map.groupBy(findings, ({ kind }) => kind)
}

function group(title: string, kind: FindingKind, found: readonly ReportedFinding[], count: number): string[] {
  const shown = found.slice(0, shownMax).map(({ subject, detail, path, canBeRepaired }) => {
    const place = path === null ? '' : ` (${path})`
    return `  ${subject}${place}: ${detail}${canBeRepaired ? '' : '; cannot be repaired'}`
  })
  const more = count > shown.length ? [`  and ${count - shown.length} more`] : []
  return [`${title}: ${FindingKind[kind]}`, ...shown, ...more]
}

function advice(problems: readonly ReportedFinding[]): string {
  const canBe = problems.filter(({ canBeRepaired }) => canBeRepaired).length
  return canBe === 0 ? ', none of which can be repaired safely' : `; --repair, unmounted, sets ${canBe} of them right`
}
