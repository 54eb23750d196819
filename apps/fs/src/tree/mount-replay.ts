import { FuseError } from '@qsfs/fuse/errno'
import type { Log } from '@qsfs/telemetry/log'
import type { BlockId, Store } from '../store/store.ts'
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from './checkpoint-format.ts'
import { checkpointKey, slotKey, writeRecords } from './log-tail.ts'
import { decodeTransaction, type Transaction } from './transaction-format.ts'

/** Where a fresh session goes on. */
export interface MountedLog {
  readonly session: number
  readonly tail: number
  readonly dataNext: BlockId
  /** No transaction was ever written. */
  readonly isNew: boolean
}

/** Slots asked for at once while replaying. */
const slotsInFlight = 32

/** Opens the log: replays what is whole, deletes what nothing names, brings everything home and starts a session on disk.
 *
 *  Only after this returns may a new block id be asked for: otherwise the id of a lost block is handed out while a void
 *  transaction that names it still looks whole. Every step may be repeated after a crash.
 *  @throws FuseError EIO when the checkpoint or a transaction cannot be read */
export async function mountLog(store: Store, log: Log, slots: number): Promise<MountedLog> {
  // What is read below must not be page cache alone: deletes and homes are built upon it.
  await store.sync()
  const dataNext = store.nextBlockId
  const checkpoint = await readCheckpoint(store, slots)
  const replayed = await readTransactions(store, checkpoint, log, slots)

  const unnamed = new Set(checkpoint.loose)
  for (let id = checkpoint.dataNext; id < dataNext; id++) unnamed.add(id)
  const homes = new Map<string, Buffer | null>()
  for (const { adds, records } of replayed) {
    for (const id of adds) unnamed.delete(id)
    for (const [key, bytes] of records) homes.set(key, bytes)
  }
  const freed = new Set(replayed.flatMap(({ frees }) => frees))
  await store.deleteBlocks([...freed.union(unnamed)])
  await store.sync()

  await writeRecords(store, homes)
  const session = checkpoint.session + 1
  const tail = checkpoint.tail + replayed.length
  await store.setRecord(checkpointKey, encodeCheckpoint({ session, tail, dataNext, loose: [] }))
  await store.sync()
  log.event('metadata.mounted', { session, replayedCount: replayed.length, orphanCount: unnamed.size, tail, dataNext })
  return { session, tail, dataNext, isNew: tail === 0 }
}

async function readCheckpoint(store: Store, slots: number): Promise<Checkpoint> {
  const bytes = await store.getRecord(checkpointKey)
  if (bytes === null) {
    // The first mount writes the checkpoint to the disk before anything else, so without one there is nothing else.
    if (store.nextBlockId === 0 && (await store.getRecord(slotKey(0, slots))) === null) {
      return { session: 0, tail: 0, dataNext: 0, loose: [] }
    }
    throw new FuseError('EIO', 'the namespaces are not empty, but hold no checkpoint: this is no filesystem of ours')
  }
  const checkpoint = decodeCheckpoint(bytes)
  if (checkpoint === null) throw new FuseError('EIO', 'the checkpoint record is damaged or of an unknown version')
  if (checkpoint.dataNext > store.nextBlockId) {
    const lost = `blocks from ${store.nextBlockId} to ${checkpoint.dataNext} are missing`
    throw new FuseError('EIO', `the data namespace is older than the metadata: ${lost}`)
  }
  return checkpoint
}

async function readTransactions(
  store: Store,
  { session, tail }: Checkpoint,
  log: Log,
  slots: number,
): Promise<Transaction[]> {
  const replayed: Transaction[] = []
  for (let first = tail; first < tail + slots; first += slotsInFlight) {
    const seqs = Array.from({ length: slotsInFlight }, (_, i) => first + i)
    const values = await Promise.all(seqs.map(seq => store.getRecord(slotKey(seq, slots))))
    for (const [i, bytes] of values.entries()) {
      if (bytes === null) return replayed
      const transaction = decodeTransaction(bytes)
      if (transaction === null) {
        log.warn('metadata.transaction_damaged', { seq: first + i })
        return replayed
      }
      if (transaction.session !== session || transaction.seq !== first + i) return replayed
      if (transaction.adds.some(id => id >= store.nextBlockId)) return replayed
      replayed.push(transaction)
    }
  }
  return replayed
}
