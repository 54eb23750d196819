import type { BlockId } from '../../store/store.ts'
import { type Checkpoint, decodeCheckpoint } from '../../tree/checkpoint-format.ts'
import { checkpointKey } from '../../tree/log-tail.ts'
import type { Findings } from '../findings.ts'
import { LogFollower } from './log-follower.ts'
import type { Onlooker } from './onlooker.ts'
import type { RecordSnapshot } from './record-snapshot.ts'

/** A moment of a filesystem, and what the next mount would do to its blocks. */
export interface Collected {
  readonly follower: LogFollower
  /** Blocks from here on may have been written after that moment. */
  readonly nextBlockId: BlockId
}

/** Records asked for at once. */
const readsInFlight = 256
const logKey = /^(c|t\d+)$/

/** Reads all records of one moment into `snapshot`, while others may be writing them.
 *  @returns null when the log has no beginning: then a finding says so
 *  @throws MovedOn: try again */
export async function collectRecords(
  onlooker: Onlooker,
  snapshot: RecordSnapshot,
  findings: Findings,
): Promise<Collected | null> {
  const nextBlockId = await onlooker.nextBlockId()
  const checkpoint = await readCheckpoint(onlooker, findings)
  if (checkpoint === null) return null
  if (checkpoint.dataNext > nextBlockId) {
    const lost = `blocks ${nextBlockId} to ${checkpoint.dataNext - 1} were handed out and are unknown`
    findings.add('data-behind', 'the namespaces', lost)
    return null
  }
  const follower = new LogFollower(onlooker, checkpoint, nextBlockId)
  await follower.catchUp()
  for await (const keys of onlooker.recordKeys()) {
    const wanted = keys.filter(key => !logKey.test(key))
    for (let at = 0; at < wanted.length; at += readsInFlight) {
      const some = wanted.slice(at, at + readsInFlight)
      const values = await Promise.all(some.map(key => onlooker.getRecord(key)))
      for (const [index, key] of some.entries()) snapshot.set(key, values[index]!)
    }
    await follower.catchUp()
  }
  for (const [key, bytes] of follower.changed) snapshot.set(key, bytes)
  return { follower, nextBlockId: await onlooker.nextBlockId() }
}

async function readCheckpoint(onlooker: Onlooker, findings: Findings): Promise<Checkpoint | null> {
  const bytes = await onlooker.getRecord(checkpointKey)
  const checkpoint = bytes === null ? null : decodeCheckpoint(bytes)
  if (checkpoint === null) {
    const detail = bytes === null ? 'there is none' : 'it does not hold together'
    findings.add('checkpoint-unreadable', `record ${checkpointKey}`, detail)
  }
  return checkpoint
}

/** What becomes of a block at the next mount. */
export class PendingBlocks {
  readonly #checkpoint: Checkpoint
  readonly #loose: ReadonlySet<BlockId>
  readonly #adds: ReadonlySet<BlockId>
  readonly #frees: ReadonlySet<BlockId>

  /** As of now: what `follower` reads later does not count. */
  constructor(follower: LogFollower) {
    this.#checkpoint = follower.checkpoint
    this.#loose = new Set(follower.checkpoint.loose)
    this.#adds = new Set(follower.adds)
    this.#frees = new Set(follower.frees)
  }

  /** It is deleted: freed, or never named by a transaction. */
  isDeletedByMount(id: BlockId): boolean {
    if (this.#frees.has(id)) return true
    if (this.#adds.has(id)) return false
    return id >= this.#checkpoint.dataNext || this.#loose.has(id)
  }
}
