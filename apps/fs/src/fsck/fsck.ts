import type { Clock } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { Store } from '../store/store.ts'
import { change } from '../tree/attempt.ts'
import { timestampOf } from '../tree/inode.ts'
import { MetadataLog } from '../tree/metadata-log.ts'
import { type Checked, type CheckOptions, check } from './check/check.ts'
import type { Finding, FindingKind } from './findings.ts'
import { RepairTree } from './repair-tree.ts'
import { MovedOn } from './view/log-follower.ts'
import type { Onlooker } from './view/onlooker.ts'
import type { RecordSnapshot } from './view/record-snapshot.ts'

/** A finding as it is reported. */
export interface ReportedFinding {
  readonly kind: FindingKind
  readonly subject: string
  readonly detail: string
  /** Of the inode it belongs to; null: unknown, or none. */
  readonly path: string | null
  readonly canBeRepaired: boolean
}

export interface FsckReport {
  readonly inodeCount: number
  readonly recordCount: number
  /** Unlinked files that somebody has open, or that the next mount removes. */
  readonly waitingOrphans: number
  /** What is wrong now: after the repairs, if there were any. */
  readonly problems: readonly ReportedFinding[]
  /** All of it, also what is not listed. */
  readonly problemCounts: Readonly<Partial<Record<FindingKind, number>>>
  readonly repaired: readonly ReportedFinding[]
}

export interface FsckOptions extends CheckOptions {
  readonly snapshot: () => RecordSnapshot
  /** Takes the namespaces over, for repairs; null: look only. */
  readonly openStore: (() => Promise<Store>) | null
}

/** A filesystem that is being written may outrun a check so often. */
const attemptsMax = 3
const roundsMax = 16
/** What can only be opened by losing more. */
const neverRepairedWith: readonly FindingKind[] = ['checkpoint-unreadable', 'data-behind', 'block-doomed']

/** Repairs of one row are made together; then everything is checked again, because they change what the rows below mean. */
const stages: readonly (readonly FindingKind[])[] = [
  ['record-unreadable', 'record-stray', 'numbers-wrong'],
  ['bucket-missing', 'name-duplicate', 'name-dangling', 'name-misplaced'],
  ['name-type', 'directory-named-twice'],
  ['unreachable'],
  ['directory-parent', 'directory-count', 'link-count', 'allocated-bytes', 'shared-count'],
  ['orphan-stale'],
  ['orphan-unlisted', 'extent-beyond-size'],
  ['block-leaked'],
]

/** Checks, and repairs what is safe if `openStore` is given; nothing else may have the filesystem then.
 *  @throws MovedOn when the filesystem is written faster than it can be read */
export async function fsck(
  onlooker: Onlooker,
  clock: Clock,
  log: Log,
  { snapshot, openStore, deep }: FsckOptions,
): Promise<FsckReport> {
  const repaired: ReportedFinding[] = []
  await using stack = new AsyncDisposableStack()
  let metadata: MetadataLog | null = null
  const failed = new Set<FindingKind>()
  for (let round = 0; ; round++) {
    using records = snapshot()
    const checked = await checkAtRest(onlooker, records, { deep })
    const stage = openStore === null || round === roundsMax ? [] : nextStage(checked, failed)
    if (openStore === null || stage.length === 0) return reportOf(checked, repaired)
    metadata ??= stack.use(await MetadataLog.open(stack.use(await openStore()), clock, log))
    const done = await repairEach(metadata, stage, clock, log)
    // What could not be repaired would only be tried again.
    for (const finding of stage) if (!done.includes(finding)) failed.add(finding.kind)
    repaired.push(...done.map(finding => reported(finding, checked)))
    await metadata.fsync()
  }
}

async function checkAtRest(onlooker: Onlooker, records: RecordSnapshot, options: CheckOptions): Promise<Checked> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await check(onlooker, records, options)
    } catch (error) {
      if (!(error instanceof MovedOn) || attempt === attemptsMax) throw error
      records.clear()
    }
  }
}

function nextStage({ findings }: Checked, failed: ReadonlySet<FindingKind>): readonly Finding[] {
  if (findings.has(...neverRepairedWith)) return []
  for (const kinds of stages) {
    const wanted = kinds.filter(kind => !failed.has(kind))
    const stage = findings.kept.filter(({ kind, repair }) => repair !== null && wanted.includes(kind))
    if (stage.length > 0) return stage
  }
  return []
}

/** One transaction each. @returns those that were made */
async function repairEach(
  metadata: MetadataLog,
  findings: readonly Finding[],
  clock: Clock,
  log: Log,
): Promise<Finding[]> {
  const done: Finding[] = []
  for (const finding of findings) {
    const tree = new RepairTree(metadata, timestampOf(clock.nowMs()))
    try {
      await change(metadata, () => finding.repair!(tree))
      await metadata.commit()
      done.push(finding)
    } catch (error) {
      log.warn('fsck.repair_failed', { kind: finding.kind, subject: finding.subject, error })
    }
  }
  return done
}

function reportOf(checked: Checked, repaired: readonly ReportedFinding[]): FsckReport {
  const { findings, inodeCount, recordCount, waitingOrphans } = checked
  return {
    inodeCount,
    recordCount,
    waitingOrphans,
    problems: findings.kept.map(finding => reported(finding, checked)),
    problemCounts: Object.fromEntries(findings.counts),
    repaired,
  }
}

function reported({ kind, subject, detail, nodeId, repair }: Finding, { paths }: Checked): ReportedFinding {
  const path = nodeId === null ? null : paths.of(nodeId)
  return { kind, subject, detail, path, canBeRepaired: repair !== null }
}
