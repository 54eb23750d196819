import { type Clock, delay } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { blockIdOf, blockKey } from '../block-key.ts'
import type { CachedbSession, Connection } from '../cachedb-session.ts'
import { coldSegmentOf, hasText } from '../resp-errors.ts'
import type { BlockId } from '../store.ts'
import type { AnsweredCommand } from './unsynced-journal.ts'

/** What the store knows of the server when a session is lost. */
export interface KnownState {
  readonly instance: string
  readonly incarnations: { readonly data: string; readonly meta: string }
  /** The id after the highest that was answered. */
  readonly nextBlockId: BlockId
  /** Answered, not synced. */
  readonly unsynced: readonly AnsweredCommand[]
  /** The record that tells one owner from the next, and what it may hold. */
  readonly guard: { readonly key: string; readonly values: readonly (Buffer | null)[] }
}

/** An insert whose answer never came. */
export interface UnansweredPut {
  bytes: Buffer
}

const fullPauseMs = 100

interface RoomWait {
  readonly clock: Clock
  readonly deadlineMs: number
}

/** Makes the server hold what it had acknowledged, and finds out which unanswered inserts it executed.
 *
 *  A server that lost its page cache holds a prefix of each namespace. The blocks it lost are all in the journal, without a
 *  gap, so inserting them again in order gives each its old id: whatever names an id, in memory or in a transaction
 *  that survived, names the same bytes as before. Records and deletes are repeated in order.
 *  @param roomWaitMs how long it waits for room in the server
 *  @param onFound called with each unanswered insert that was executed, in order, and its id
 *  @throws FuseError EROFS when the server lost what was synced, or somebody else wrote; ConnectionLost, RespError */
export async function recover(
  session: CachedbSession,
  known: KnownState,
  unanswered: readonly UnansweredPut[],
  clock: Clock,
  roomWaitMs: number,
  onFound: (put: UnansweredPut, id: BlockId) => void,
): Promise<void> {
  const room = { clock, deadlineMs: clock.monotonicMs() + roomWaitMs }
  const { data, meta } = session.positions
  if (data.incarnation !== known.incarnations.data || meta.incarnation !== known.incarnations.meta) {
    throw new FuseError('EROFS', 'the namespaces were dropped and made again under the mounted filesystem')
  }
  await checkGuard(session, known.guard)
  const changed = data.instance !== known.instance
  if (data.nextId < known.nextBlockId) {
    if (!changed) throw new FuseError('EROFS', `the server went back from block ${known.nextBlockId} to ${data.nextId}`)
    await putLostBlocks(session, known, room)
  }
  await matchUnanswered(session, known.nextBlockId, unanswered, onFound)
  if (changed) await repeat(session, known.unsynced, room)
}

/** A restarted server has forgotten who was superseded: the checkpoint still tells whether it was us. */
async function checkGuard(session: CachedbSession, { key, values }: KnownState['guard']): Promise<void> {
  if (values.length === 0) return
  const found = await session.recordReads.call('GET', key)
  if (values.some(value => (Buffer.isBuffer(found) ? value?.equals(found) : value === null))) return
  throw new FuseError('EROFS', 'another filesystem process has mounted these namespaces since')
}

async function putLostBlocks(session: CachedbSession, known: KnownState, room: RoomWait): Promise<void> {
  const bytesOf = new Map<BlockId, Buffer>()
  for (const command of known.unsynced) if (command.kind === 'put') bytesOf.set(command.id, command.bytes)
  for (let id = session.positions.data.nextId; id < known.nextBlockId; id++) {
    const bytes = bytesOf.get(id)
    if (bytes === undefined) throw new FuseError('EROFS', `the server lost block ${id}, which it had synced`)
    const given = blockIdOf(await callWhenRoom(session.blocks, room, 'SET', '', bytes))
    if (given !== id) throw new FuseError('EROFS', `block ${id} came back as ${given}: somebody else writes here`)
  }
}

/** Inserts went down one connection in order, so those that were executed got the ids from `nextBlockId` on in that order.
 *  One that was refused for want of room in the middle got none: the bytes tell which. */
async function matchUnanswered(
  session: CachedbSession,
  nextBlockId: BlockId,
  unanswered: readonly UnansweredPut[],
  onFound: (put: UnansweredPut, id: BlockId) => void,
): Promise<void> {
  let at = 0
  for (let id = nextBlockId; id < session.positions.data.nextId; id++) {
    const stored = await getWarm(session, id)
    while (at < unanswered.length && !(stored !== null && unanswered[at]!.bytes.equals(stored))) at++
    if (at === unanswered.length) throw new FuseError('EROFS', `block ${id} is none of ours: somebody else writes here`)
    onFound(unanswered[at++]!, id)
  }
}

async function getWarm(session: CachedbSession, id: BlockId): Promise<Buffer | null> {
  for (;;) {
    try {
      const stored = await session.blockReads.call('GET', blockKey(id))
      return Buffer.isBuffer(stored) ? stored : null
    } catch (error) {
      const segment = coldSegmentOf(error)
      if (segment === null) throw error
      await session.warm(session.names.data, segment)
    }
  }
}

/** One after the other: a record that is refused must not be overtaken by one that relies on it. */
async function repeat(session: CachedbSession, commands: readonly AnsweredCommand[], room: RoomWait): Promise<void> {
  for (const command of commands) {
    switch (command.kind) {
      case 'put':
        break
      case 'delete':
        await deleteKey(session.blocks, blockKey(command.id))
        break
      case 'set':
        await callWhenRoom(session.records, room, 'SET', command.key, command.value)
        break
      case 'unset':
        await deleteKey(session.records, command.key)
        break
      default:
        command satisfies never
    }
  }
}

/** Deletes; a key that is gone already is as good.
 *  @throws RespError, ConnectionLost */
export async function deleteKey(connection: Connection, key: Buffer | string): Promise<void> {
  try {
    await connection.call('DEL', key)
  } catch (error) {
    if (!hasText(error, ErrorText.keyNotFound)) throw error
  }
}

/** What is repeated was acknowledged once, so it waits for room; when that takes too long the whole recovery begins again, on a
 *  new connection, and whoever waits meanwhile has been told. */
async function callWhenRoom(
  connection: Connection,
  { clock, deadlineMs }: RoomWait,
  ...args: readonly (string | Buffer)[]
) {
  for (;;) {
    try {
      return await connection.call(...args)
    } catch (error) {
      const isFull = hasText(error, ErrorText.fullWait) || hasText(error, ErrorText.fullSpace)
      if (!isFull || clock.monotonicMs() >= deadlineMs) throw error
      await delay(clock, fullPauseMs)
    }
  }
}
