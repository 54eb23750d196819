import { StorError } from '../errors.ts'
import { type MemberBackend, SUPERBLOCK_KEY } from '../metadata/member-backend.ts'
import { encodeSuperblock, type Superblock } from '../metadata/superblock.ts'
import { type IdentityTools, readCopy } from './identity.ts'
import { newest } from './open-identity.ts'

/** A superblock that is made from a copy, and not in force yet. */
export interface RestoredIdentity {
  readonly superblock: Superblock
  /** Writes it to all metadata backends: from then on they hold this store.
   *  @throws StorError 'unavailable' */
  commit(): Promise<void>
}

/** The superblock of a store whose metadata backends hold none: that of a copy, for the members of the config.
 *  @param copies what data backends keep; the newest that the master opens counts
 *  @throws StorError 'unavailable' unless all metadata backends answer, 'refused' when one holds a superblock, 'not-found'
 *  without a copy, and what opening one throws */
export async function restoreIdentity(
  members: readonly MemberBackend[],
  copies: readonly Buffer[],
  tools: IdentityTools,
): Promise<RestoredIdentity> {
  for (const member of members) {
    const copy = await readCopy(member)
    if (copy === 'silent') throw new StorError('unavailable', `${member.name} does not answer: all must, to begin anew`)
    if (copy === 'none') continue
    throw new StorError(
      'refused',
      `${member.name} holds a superblock: start stor with it, or give it an empty namespace`,
    )
  }
  if (copies.length === 0) throw new StorError('not-found', 'no data backend holds a copy of the superblock')
  const { superblock: found, master } = await newest(copies, tools)
  const { dataShards, clock } = tools
  const counter = Math.max(found.counter + 1, Math.floor(clock.nowMs()))
  const names = members.map(({ name }) => name)
  const superblock = { ...found, dataShards, members: names, memberSet: found.memberSet + 1, counter }
  return {
    superblock,
    async commit() {
      const bytes = encodeSuperblock(superblock, [master])
      await Promise.all(members.map(member => member.set(SUPERBLOCK_KEY, bytes)))
      for (const member of members) member.blank = false
    },
  }
}
