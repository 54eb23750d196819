import type { NamespacePosition } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/reply'
import type { HostedNamespace } from '../engine/namespaces.ts'
import { parseToken } from '../engine/ownership.ts'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'

// Commands that 0-db does not have; docs/formats/resp.md describes them for clients.

/** OWNER token namespace… → per namespace its position. From now on older owners' commands fail. */
export function owner(session: Session, args: Buffer[]): Reply {
  const claim = parseToken(args[1]!)
  const wanted = args.slice(2).map(name => session.reach(name.toString()))
  session.own(claim, wanted)
  return wanted.map(({ namespace }) => toReply(namespace.position))
}

/** FSYNC [namespace…] → per namespace its position, once everything executed before is on disk. */
export async function fsync(session: Session, args: Buffer[]): Promise<Reply> {
  const names = args.length > 1 ? args.slice(1).map(String) : [session.hosted.namespace.name]
  const wanted = names.map(name => session.reach(name))
  const reloading = reloadOf(wanted)
  if (reloading !== null) await reloading
  const positions = await Promise.all(wanted.map(({ namespace }) => namespace.sync()))
  return positions.map(toReply)
}

/** Settles when no RELOAD of these is under way, or rejects with what it failed with; null when none is: who waits for nothing goes on
 *  before the next command does. */
export function reloadOf(wanted: readonly HostedNamespace[]): Promise<unknown> | null {
  const reloads = wanted.flatMap(({ reloading }) => reloading ?? [])
  return reloads.length === 0 ? null : Promise.all(reloads)
}

/** WARM segment: answers when the segment's values can be read. */
export async function warm(session: Session, args: Buffer[]): Promise<Reply> {
  const text = args[1]!.toString('latin1')
  if (!/^\d{1,10}$/.test(text)) throw new Refused('Invalid argument')
  await session.hosted.namespace.warm(Number(text))
  return 'OK'
}

/** SEGMENTS → per segment [id, state, data bytes, live bytes, object id or nil, local, note]. */
export function segments(session: Session): Reply {
  const { hosted, isAdmin } = session
  return hosted.namespace.segments().map(({ id, state, dataBytes, liveBytes, objectId, local, note }) => [
    id,
    Buffer.from(state),
    dataBytes,
    liveBytes,
    objectId === null ? null : Buffer.from(objectId),
    local ? 1 : 0,
    // Perhaps what a hook printed.
    Buffer.from(isAdmin ? note : ''),
  ])
}

/** A position on the wire. */
export function toReply({ instance, nextId, appended, synced, incarnation }: NamespacePosition): Reply {
  return [Buffer.from(instance), nextId, appended, synced, Buffer.from(incarnation)]
}
