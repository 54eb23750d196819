import type { Reply } from '@qsfs/resp/reply'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'

const ownerIdBytesMax = 32

/** MASTER: from now on the last argument of each request is the id of whom its change belongs to, and NSINFO shows passwords. */
export function master(session: Session): Reply {
  session.isMaster = true
  return 'Hello, master'
}

/** Takes the owner id off a master's request. @throws Refused */
export function takeOwnerId(request: Buffer[]): { readonly args: Buffer[]; readonly ownerId: number } {
  if (request.length < 2) throw new Refused('Missing arguments')
  const last = request.at(-1)!
  if (last.length > ownerIdBytesMax) throw new Refused('Invalid argument')
  // C's atol: what is no number is 0.
  const ownerId = Number(/^\s*\+?(\d{1,15})(?!\d)/.exec(last.toString('latin1'))?.[1] ?? 0)
  return { args: request.slice(0, -1), ownerId }
}
