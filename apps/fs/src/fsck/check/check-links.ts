import type { NodeId } from '@qsfs/fuse/filesystem'
import { decodeInodes, inodesPerRecord } from '../../tree/inode-format.ts'
import { Numbers, rootNodeId } from '../../tree/inode-table.ts'
import { decodeOrphans, OrphanReason } from '../../tree/orphan-format.ts'
import type { Repair } from '../findings.ts'
import { parseRecordKey } from '../view/record-keys.ts'
import type { CheckContext } from './check.ts'
import { decoded } from './check-inodes.ts'

/** What only all names together can tell: reachability, link counts, "..". */
export function checkLinks(context: CheckContext): void {
  const { facts, findings } = context
  if (!facts.isDirectory(rootNodeId)) {
    findings.add('root-missing', `inode ${rootNodeId}`, 'it is no directory')
    return
  }
  for (const nodeId of facts.nodeIds()) {
    if (facts.isDirectory(nodeId)) checkDirectoryLinks(context, nodeId)
    else checkFileLinks(context, nodeId)
  }
}

function checkFileLinks(context: CheckContext, nodeId: NodeId): void {
  const { facts } = context
  const names = facts.namesOf(nodeId)
  const links = facts.linksOf(nodeId)
  if (names === 0 && links > 0) reportUnreachable(context, nodeId, 'it has no name')
  else if (names === 0) checkUnlinked(context, nodeId)
  else if (names !== links) reportLinkCount(context, nodeId, names)
}

function checkDirectoryLinks(context: CheckContext, nodeId: NodeId): void {
  const { facts } = context
  const names = facts.namesOf(nodeId)
  const links = facts.linksOf(nodeId)
  if (names === 0 && nodeId !== rootNodeId) {
    if (links === 0 && facts.subdirectoriesOf(nodeId) === 0) checkUnlinked(context, nodeId)
    else reportUnreachable(context, nodeId, 'it has no name')
    return
  }
  const top = facts.climb(nodeId, rootNodeId)
  if (top !== null && facts.namesOf(top) > 0) reportUnreachable(context, top, 'it is inside of itself')
  const expected = 2 + facts.subdirectoriesOf(nodeId)
  if (links !== expected) reportLinkCount(context, nodeId, expected)
  const parent = nodeId === rootNodeId ? rootNodeId : facts.namedBy(nodeId)
  checkParent(context, nodeId, parent)
}

function checkParent({ findings, snapshot, facts }: CheckContext, nodeId: NodeId, parent: NodeId): void {
  const first = nodeId - (nodeId % inodesPerRecord)
  const stored = decodeInodes(first, snapshot.get(`i${first / inodesPerRecord}`))[nodeId % inodesPerRecord]!.parent
  if (stored === parent || facts.namesOf(nodeId) > 1) return
  findings.add('directory-parent', `inode ${nodeId}`, `".." is inode ${stored}, its name is in inode ${parent}`, {
    nodeId,
    repair: ({ inodes }) => {
      const inode = inodes.get(nodeId)
      inode.parent = parent
      inodes.touch(inode)
    },
  })
}

/** No names and no links: it waits to be removed, if it is on the list. */
function checkUnlinked({ findings, unlinked }: CheckContext, nodeId: NodeId): void {
  if (unlinked.has(nodeId)) return
  findings.add('orphan-unlisted', `inode ${nodeId}`, 'nobody would ever remove it', {
    nodeId,
    repair: ({ orphans }) => {
      orphans.load()
      orphans.add(nodeId, OrphanReason.unlinked)
    },
  })
}

function reportUnreachable({ findings, facts }: CheckContext, nodeId: NodeId, detail: string): void {
  const namedBy = facts.namedBy(nodeId)
  findings.add('unreachable', `inode ${nodeId}`, detail, {
    nodeId,
    repair: tree => tree.moveToLostAndFound(nodeId, namedBy === 0 ? null : namedBy),
  })
}

function reportLinkCount({ findings, facts }: CheckContext, nodeId: NodeId, expected: number): void {
  findings.add('link-count', `inode ${nodeId}`, `${facts.linksOf(nodeId)} counted, ${expected} found`, {
    nodeId,
    repair: ({ inodes, orphans }) => {
      const inode = inodes.get(nodeId)
      orphans.load()
      inode.linkCount = expected
      orphans.remove(nodeId)
      inodes.touch(inode)
    },
  })
}

/** The list of inodes with work left. Filled in before inodes are checked, compared with them here. */
export function checkOrphans(context: CheckContext): void {
  const { facts, findings, unlinked, trimmed } = context
  for (const nodeId of unlinked) {
    const isWanted = facts.typeOf(nodeId) === null || (facts.typeOf(nodeId) !== 0 && facts.namesOf(nodeId) === 0)
    // A wrong link count is reported as such.
    if (!isWanted && !(facts.typeOf(nodeId) !== 0 && facts.linksOf(nodeId) === 0)) stale(nodeId, 'it is not unlinked')
  }
  for (const nodeId of trimmed) if (facts.typeOf(nodeId) === 0) stale(nodeId, 'there is no such inode')

  function stale(nodeId: NodeId, detail: string): void {
    findings.add('orphan-stale', `inode ${nodeId}`, detail, {
      repair: ({ orphans }) => {
        orphans.load()
        orphans.remove(nodeId)
      },
    })
  }
}

/** Reads the list. */
export function readOrphans(context: CheckContext): void {
  for (const key of context.snapshot.keys()) {
    const parsed = parseRecordKey(key)
    if (parsed?.kind !== 'orphans') continue
    // Whoever was on it is found again: without a name, or with extents beyond its size.
    const drop: Repair = tree => tree.setRecord(key, null)
    for (const { nodeId, reason } of decoded(context, key, bytes => decodeOrphans(parsed.index, bytes), drop) ?? []) {
      if (reason === OrphanReason.unlinked) context.unlinked.add(nodeId)
      else context.trimmed.add(nodeId)
    }
  }
}

/** The record `n`. */
export function checkNumbers(context: CheckContext): void {
  const { snapshot, facts, findings } = context
  const orphanRecords = [...snapshot.keys()].filter(key => parseRecordKey(key)?.kind === 'orphans')
  const highestOrphans = orphanRecords.reduce((highest, key) => Math.max(highest, Number(key.slice(1))), -1)
  const stored = snapshot.has('n') ? decoded(context, 'n', bytes => new Numbers(bytes)) : null
  const wanted = new Numbers(null)
  wanted.inodeCount = facts.count
  wanted.allocatedBytes = facts.allocatedBytes
  wanted.nextNodeId = Math.max(stored?.nextNodeId ?? 0, facts.highest + 1)
  wanted.orphanRecordCount = Math.max(stored?.orphanRecordCount ?? 0, highestOrphans + 1)
  if (facts.count === 0 && stored === null) return
  const isUnsure = findings.has('record-unreadable')
  const isRight =
    stored !== null &&
    stored.nextNodeId === wanted.nextNodeId &&
    (isUnsure || stored.inodeCount === wanted.inodeCount) &&
    (isUnsure || !stored.isCounted || stored.allocatedBytes === wanted.allocatedBytes) &&
    stored.orphanRecordCount === wanted.orphanRecordCount
  if (isRight) return
  const detail =
    stored === null
      ? 'it is missing or damaged'
      : `next inode ${stored.nextNodeId}, ${stored.inodeCount} inodes with ${stored.allocatedBytes} bytes; found ` +
        `${wanted.nextNodeId}, ${wanted.inodeCount} with ${wanted.allocatedBytes}`
  findings.add('numbers-wrong', 'record n', detail, { repair: tree => tree.setRecord('n', wanted.encode()) })
}
