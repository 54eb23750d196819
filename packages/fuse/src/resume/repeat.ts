import type { Log } from '@qsfs/telemetry/log'
import type { Lifetimes } from '../answer.ts'
import { type ErrnoName, FuseError } from '../errno.ts'
import type { Filesystem } from '../filesystem.ts'
import { operations } from '../operations.ts'
import { Request } from '../request.ts'
import { createdBy, happenedAtMs } from './changing-requests.ts'
import type { JournalEntry, Unfinished } from './request-journal.ts'

/** The kernel let go of a node for good, however often it had got it. */
const all = Number.MAX_SAFE_INTEGER

/** What the tree says to a request that its transaction took along after all, or that rests on lost bytes. Anything else, a store that is
 *  away say, ends this process: the next one tries again. */
const notToBeRepeated: ReadonlySet<ErrnoName> = new Set([
  'EEXIST',
  'EISDIR',
  'ENODATA',
  'ENOENT',
  'ENOTDIR',
  'ENOTEMPTY',
  'ESTALE',
])

/** What the filesystem has to know of a request before it happens again. */
export interface Repetition {
  readonly nowMs: number
  /** The number that the inode had which it made; null: it made none. */
  readonly nodeId: number | null
}

/** Lets everything happen again that the process before answered and the store does not know. The filesystem is as the store
 *  knows it, and serves nobody yet.
 *  @param prepare called before each request
 *  @throws what says nothing about the request itself */
export async function repeat(
  filesystem: Filesystem,
  { entries }: Unfinished,
  prepare: (repetition: Repetition) => void,
  lifetimes: Lifetimes,
  log: Log,
): Promise<void> {
  for (const { entry, done } of entries) {
    if (entry.kind === 'forgotten') for (const nodeId of entry.nodeIds) filesystem.forget(nodeId, all)
    else await repeatOne(filesystem, entry, prepare, lifetimes, log)
    done()
  }
}

async function repeatOne(
  filesystem: Filesystem,
  entry: JournalEntry & { readonly kind: 'answered' },
  prepare: (repetition: Repetition) => void,
  lifetimes: Lifetimes,
  log: Log,
): Promise<void> {
  const request = new Request(entry.request)
  const operation = request.name === null ? undefined : operations.get(request.name)
  prepare({ nowMs: happenedAtMs(entry), nodeId: createdBy(entry) })
  try {
    await operation?.run(filesystem, request, lifetimes)
  } catch (error) {
    // It had worked: either its transaction took it along after all, or bytes that it needs are lost.
    if (!(error instanceof FuseError) || !isPassedOver(error, request.name)) throw error
    log.warn('journal.not_repeated', { opcode: request.name ?? request.opcode, nodeId: request.nodeId, error })
  }
}

/** A copy of bytes that cannot be read, now or ever, must not keep all else waiting. */
function isPassedOver(error: FuseError, name: string | null): boolean {
  const copiesBytes = name === 'COPY_FILE_RANGE' || name === 'COPY_FILE_RANGE_64'
  return notToBeRepeated.has(error.code) || (copiesBytes && error.code === 'EIO')
}
