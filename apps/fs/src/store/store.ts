/** Where the filesystem's bytes live: numbered blocks and named records, each an append somewhere.
 *
 *  - Order: what `putBlock` and `deleteBlocks` append is one sequence, what `setRecord` and `deleteRecord` append another.
 *    After a crash a prefix of each is there, with everything a `sync` covered.
 *  - Answered is not durable: a settled put reached the server, a settled `sync` reached its disk. Everything answered
 *    before `sync` was called is covered by it.
 *  - A lost connection is the store's business: it opens a new one, finds out what was applied and repeats the rest, so
 *    callers see a slow answer. A call that rejects with ENOSPC has changed nothing; after EIO or EROFS nothing is known.
 *  - Bytes handed in belong to the store until the next sync has covered them: they must not change.
 *  - Failures are FuseErrors: ENOSPC (no room), EIO (bytes that exist nowhere that answers), EROFS (another owner, a failed
 *    sync, or a store that lost what it had acknowledged). */
export interface Store extends AsyncDisposable {
  /** The id that the next answered put will get: above every id ever answered. */
  readonly nextBlockId: BlockId
  /** Counts answered puts, sets and deletes; grows only. */
  readonly answered: number
  /** Everything up to this value of `answered` is on disk. */
  readonly synced: number
  /** Bytes that only the store's memory is sure to hold, because no sync has covered them yet. */
  readonly unsyncedBytes: number

  /** Appends a block of at most 8 MiB. Waits while the server says it is about to make room; ENOSPC when it will not. */
  putBlock(bytes: Buffer, options?: CallOptions): Promise<BlockId>
  /** `lengthBytes` of block `id` from `offsetBytes` on, always all of them. EIO when there is no such block, when the block is
   *  shorter, or when no copy arrived within `readWaitMs`. The abort leaves nothing behind. */
  getBlock(id: BlockId, offsetBytes: number, lengthBytes: number, options?: CallOptions): Promise<Buffer>
  /** Memory of a block that `getBlock` answered with: nobody looks at it any more, and it may be used again. */
  giveBack?(bytes: Buffer): void
  /** Deletes the blocks; one that is gone already is no failure. */
  deleteBlocks(ids: readonly BlockId[]): Promise<void>

  /** Writes a record whole: the same key and bytes again change nothing. Keys have at most 255 bytes of latin1. */
  setRecord(key: string, value: Buffer): Promise<void>
  /** null: no such record. A record that cannot be read is EIO, never null. */
  getRecord(key: string, options?: CallOptions): Promise<Buffer | null>
  deleteRecord(key: string): Promise<void>

  sync(): Promise<void>
  /** As `setRecord` and then `sync`, without waiting in between where that saves a trip. When `set` fails, `synced` does. */
  setRecordAndSync(key: string, value: Buffer): { readonly set: Promise<void>; readonly synced: Promise<void> }
}

/** A number the store handed out, never twice. */
export type BlockId = number

export interface CallOptions {
  readonly signal?: AbortSignal
}

/** `setRecordAndSync` of a store that has nothing to gain from sending both at once. */
export function setThenSync(store: Store, key: string, value: Buffer): ReturnType<Store['setRecordAndSync']> {
  const set = store.setRecord(key, value)
  const synced = set.then(() => store.sync())
  // Whoever hears that the record was not taken need not ask for the sync.
  synced.catch(() => {})
  return { set, synced }
}
