import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/reply'
import type { HostedNamespace } from '../engine/namespaces.ts'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'
import { reloadOf, toReply } from './owner.ts'

/** POINT namespace… → the recovery point's number, then per namespace its position, once everything executed before is on disk. */
export async function point(session: Session, args: Buffer[]): Promise<Reply> {
  const wanted = args.slice(1).map(name => session.reach(name.toString()))
  for (const hosted of wanted) requireMayCut(session, hosted)
  const reloading = reloadOf(wanted)
  if (reloading !== null) await reloading
  const { number, positions } = await session.server.points.request(wanted)
  return [number, ...positions.map(toReply)]
}

/** A cut ends segments: of what is owned only the owner, of what is not only an admin. */
function requireMayCut(session: Session, hosted: HostedNamespace): void {
  if (!hosted.ownership.isTaken) session.requireAdmin()
  else if (!session.isOwner(hosted)) throw new Refused(ErrorText.ownerLost)
}
