import type { Reply } from '@qsfs/resp/reply'
import type { Session } from '../session.ts'

/** MIRROR: from now on this connection is told of every command of all others: [unix seconds, namespace, owner id, argument…]. */
export function mirror(session: Session): Reply {
  session.server.audience.mirror(session)
  return 'Starting mirroring'
}

/** What stands in a mirrored command for an argument that could be a password of the reader's betters. */
export const hiddenSecret = Buffer.from('(secret)')
