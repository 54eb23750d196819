import type { NodeId } from '@qsfs/fuse/filesystem'
import type { RepairTree } from './repair-tree.ts'

/** Every kind of damage by its name, with what it means. docs/operations.md lists them with what --repair does. */
export const FindingKind = {
  'checkpoint-unreadable': 'the checkpoint is missing, damaged or of an unknown version: nothing can be mounted',
  'data-behind': 'the data namespace is older than the metadata: blocks it had handed out are missing',
  'log-gap': 'whole transactions lie behind one that is damaged: what they changed is lost',
  'record-unreadable': 'a record says something no version writes',
  'record-stray': 'a record that nothing leads to',
  'numbers-wrong': 'the record of numbers and counts is wrong',
  'root-missing': 'there is no root directory',
  'inode-invalid': 'an inode contradicts itself',
  'attributes-missing': 'the record of extended attributes is missing',
  'name-dangling': 'a name of an inode that does not exist',
  'name-type': "a name's type is not its inode's",
  'name-misplaced': 'a name in a bucket where nobody looks for it',
  'name-duplicate': 'the same name, or cookie, twice in one directory',
  'name-invalid': 'a name no program can ask for',
  'bucket-missing': 'a bucket that its directory says exists',
  'directory-named-twice': 'a directory with more than one name',
  'directory-parent': '".." leads elsewhere than where the name is',
  'directory-count': 'a directory counts its names wrongly',
  'link-count': 'the link count is not the number of names',
  unreachable: 'no path leads to it',
  'orphan-unlisted': 'an inode without a name that is not on the list of those to remove',
  'orphan-stale': 'an entry on the list of inodes with work left that has none',
  'extent-beyond-size': 'extents beyond the end of the file',
  'extent-invalid': 'extents of a file contradict each other',
  'allocated-bytes': 'the bytes held by the file are counted wrongly',
  'block-missing': 'a block of the file does not exist',
  'block-length': 'a block of the file has another length than when it was written',
  'block-unreadable': 'a block of the file cannot be read now, or is not what was written',
  'block-doomed': 'a block of the file would be deleted by the next mount',
  'block-named-twice': 'two files name one block and nobody counts it',
  'shared-count': 'the count of files that share a block is wrong',
  'block-leaked': 'blocks that nothing names',
} as const
export type FindingKind = keyof typeof FindingKind

/** One transaction that sets something right without losing anything. As with every operation all its looks come before its first
 *  change: it is run again after each record it had to wait for. */
export type Repair = (tree: RepairTree) => void

/** One thing that is wrong. */
export interface Finding {
  readonly kind: FindingKind
  /** What it is about: `inode 12`, `record d7.a`, `block 9`. */
  readonly subject: string
  readonly detail: string
  /** Whose path may be told; null: it belongs to no one file. */
  readonly nodeId: NodeId | null
  /** null: nothing safe can be done. */
  readonly repair: Repair | null
}

/** More are counted, not kept: a tree that is all damage must not fill the memory. */
const keptMax = 10_000

/** What a check found so far. */
export class Findings {
  readonly kept: Finding[] = []
  readonly counts = new Map<FindingKind, number>()

  add(
    kind: FindingKind,
    subject: string,
    detail: string,
    { nodeId = null, repair = null }: Partial<Pick<Finding, 'nodeId' | 'repair'>> = {},
  ): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    if (this.kept.length < keptMax) this.kept.push({ kind, subject, detail, nodeId, repair })
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0)
  }

  has(...kinds: readonly FindingKind[]): boolean {
    return kinds.some(kind => this.counts.has(kind))
  }
}
