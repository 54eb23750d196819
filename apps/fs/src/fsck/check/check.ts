import type { NodeId } from '@qsfs/fuse/filesystem'
import type { BlockId } from '../../store/store.ts'
import { Findings } from '../findings.ts'
import { collectRecords, PendingBlocks } from '../view/collect.ts'
import type { Onlooker } from '../view/onlooker.ts'
import { parseRecordKey } from '../view/record-keys.ts'
import type { RecordSnapshot } from '../view/record-snapshot.ts'
import { BlockClaims } from './block-claims.ts'
import { checkBlocks, checkSharedCounts } from './check-blocks.ts'
import { checkDirectories } from './check-directories.ts'
import { checkInodes } from './check-inodes.ts'
import { checkLinks, checkNumbers, checkOrphans, readOrphans } from './check-links.ts'
import { InodeFacts } from './inode-facts.ts'
import { Paths } from './paths.ts'

/** What the parts of a check share. */
export interface CheckContext {
  readonly snapshot: RecordSnapshot
  readonly findings: Findings
  readonly facts: InodeFacts
  readonly claims: BlockClaims
  /** The list of orphans, by reason. */
  readonly unlinked: Set<NodeId>
  readonly trimmed: Set<NodeId>
  /** Reads on in the log of a filesystem that is being used: called now and then, so that nothing of it is missed. */
  goOn(): Promise<void>
  /** A transaction after the moment that is checked freed the block. */
  wasFreedSince(id: BlockId): boolean
}

export interface CheckOptions {
  /** Every block is read and compared with its checksum. */
  readonly deep: boolean
}

export interface Checked {
  readonly findings: Findings
  readonly inodeCount: number
  readonly recordCount: number
  /** Inodes without a name that somebody has open, or that the next mount removes. */
  readonly waitingOrphans: number
  /** As long as the snapshot lives. */
  readonly paths: Paths
}

/** Checks everything that records and blocks say of each other, as of one moment. Reads only.
 *  @param snapshot empty; afterwards it holds the records of that moment
 *  @throws MovedOn when the filesystem changed too fast to be read: try again */
export async function check(onlooker: Onlooker, snapshot: RecordSnapshot, options: CheckOptions): Promise<Checked> {
  const findings = new Findings()
  const collected = await collectRecords(onlooker, snapshot, findings)
  const facts = new InodeFacts()
  const claims = new BlockClaims()
  const unlinked = new Set<NodeId>()
  const result = () => ({
    findings,
    inodeCount: facts.count,
    recordCount: snapshot.count,
    waitingOrphans: unlinked.size,
    paths: new Paths(snapshot, facts),
  })
  if (collected === null) return result()
  const { follower, nextBlockId } = collected
  const pending = new PendingBlocks(follower)
  const context: CheckContext = {
    snapshot,
    findings,
    facts,
    claims,
    unlinked,
    trimmed: new Set(),
    goOn: () => follower.catchUp(),
    wasFreedSince: id => follower.frees.has(id),
  }
  const stray = await follower.strayTransactions()
  await follower.catchUp()
  // What is behind the end is a gap only if the log still ends before it.
  if (stray.some(seq => seq > follower.endSeq)) {
    findings.add('log-gap', `transaction ${follower.endSeq}`, `${stray.length} whole ones lie behind it`)
  }
  for (const key of snapshot.keys()) {
    if (parseRecordKey(key) === null) findings.add('record-stray', `record ${key}`, 'no record is called so')
  }
  readOrphans(context)
  checkInodes(context)
  checkDirectories(context)
  checkStrays(context)
  if (facts.count > 0 || snapshot.count > 0) checkLinks(context)
  checkOrphans(context)
  checkNumbers(context)
  checkSharedCounts(context)
  await checkBlocks(context, onlooker, pending, nextBlockId, options)
  return result()
}

/** Records of inodes that do not exist. */
function checkStrays({ snapshot, facts, findings }: CheckContext): void {
  for (const key of snapshot.keys()) {
    const parsed = parseRecordKey(key)
    if (parsed?.kind !== 'extents' && parsed?.kind !== 'attributes') continue
    if (facts.typeOf(parsed.nodeId) !== 0) continue
    findings.add('record-stray', `record ${key}`, 'there is no such inode', {
      repair: tree => tree.setRecord(key, null),
    })
  }
}
