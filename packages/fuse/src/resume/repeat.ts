import type { Log } from '@qsfs/telemetry/log'
import type { Lifetimes } from '../answer.ts'
import { FuseError } from '../errno.ts'
import type { Filesystem } from '../filesystem.ts'
import { operations } from '../operations.ts'
import { Request } from '../request.ts'
import { createdBy, happenedAtMs } from './changing-requests.ts'
import type { JournalEntry, Unfinished } from './request-journal.ts'

/** What the filesystem has to know of a request before it happens again. */
export interface Repetition {
  readonly nowMs: number
  /** The number that the inode had which it made; null: it made none. */
  readonly nodeId: number | null
}

/** Lets everything happen again that the process before answered and the store does not know. The filesystem is as the store
 *  knows it, and serves nobody yet.
 *  @param prepare called before each request
 *  @throws what is no FuseError */
export async function repeat(
  filesystem: Filesystem,
  { entries }: Unfinished,
  prepare: (repetition: Repetition) => void,
  lifetimes: Lifetimes,
  log: Log,
): Promise<void> {
  for (const { entry, done } of entries) {
    if (entry.kind === 'forgotten') for (const nodeId of entry.nodeIds) filesystem.forget(nodeId, 1)
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
    if (!(error instanceof FuseError)) throw error
    log.warn('journal.not_repeated', { opcode: request.name ?? request.opcode, nodeId: request.nodeId, error })
  }
}
