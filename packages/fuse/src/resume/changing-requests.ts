import { EntryOutHead, FuseAttr, InHeader, OutHeader } from '../abi.ts'
import { type OpcodeName, opcodeNameOf } from '../opcodes.ts'
import type { JournalRecord } from './journal-format.ts'

/** They make an inode: their reply begins with its number. */
const creating: ReadonlySet<string> = new Set(['SYMLINK', 'MKNOD', 'MKDIR', 'CREATE', 'TMPFILE'])
const changing: ReadonlySet<string> = new Set([
  ...creating,
  'SETATTR',
  'UNLINK',
  'RMDIR',
  'RENAME',
  'RENAME2',
  'LINK',
  'SETXATTR',
  'REMOVEXATTR',
  'FALLOCATE',
  'COPY_FILE_RANGE',
  'COPY_FILE_RANGE_64',
])

/** Requests that change what a transaction holds. WRITE is none of them: its bytes are stored first. */
export function changesTheTree(name: OpcodeName): boolean {
  return changing.has(name)
}

/** The inode that a journaled request made; null: none. */
export function createdBy(record: JournalRecord): number | null {
  if (record.kind !== 'answered') return null
  const name = opcodeNameOf(InHeader.decode(record.request).opcode)
  return name !== null && creating.has(name) ? EntryOutHead.decode(record.reply, OutHeader.sizeBytes).nodeId : null
}

/** When a journaled request happened: where its reply told the caller a time, that one, for it will be looked at again. */
export function happenedAtMs(record: JournalRecord & { readonly kind: 'answered' }): number {
  if (createdBy(record) === null) return record.atMicros / 1000
  const { ctime, ctimeNanos } = FuseAttr.decode(record.reply, OutHeader.sizeBytes + EntryOutHead.sizeBytes)
  return ctime * 1000 + ctimeNanos / 1e6
}
