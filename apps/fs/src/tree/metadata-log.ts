import type { Clock } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { BlockId, CallOptions, Store } from '../store/store.ts'

/** A record as the tree holds it: the log asks for its bytes when they are due, not when it changes. */
export interface LogRecord {
  /** Latin1, at most 250 bytes; the keys `c` and `t<number>` belong to the log. */
  readonly key: string
  /** The record's bytes now, at most 64 KiB, freshly made or never changed again; null: the record is deleted. */
  encode(): Buffer | null
}

export interface MetadataLogOptions {
  /** A transaction that is not asked for by an fsync is committed after this long. */
  readonly commitDelayMs: number
}

/** The records of the tree with transactions over them (docs/formats/transaction.md, checkpoint.md).
 *
 *  One operation = `await room()`, then one synchronous stretch that changes memory and touches every record it changed:
 *  with no await in between it is atomic, because a transaction is only ever encoded between such stretches. */
export class MetadataLog implements AsyncDisposable {
  /** Opens the filesystem of `store`: replays what a crash left, gives back what it lost track of, starts a session. */
  static async open(store: Store, clock: Clock, log: Log, options?: Partial<MetadataLogOptions>): Promise<MetadataLog> {
    throw new Error('being written')
  }
  /** This mount's number: above every earlier one. Records that only live as long as a mount carry it. */
  readonly session: number = 0
  /** True when `open` found empty namespaces: the tree has to make its root. */
  readonly isNew: boolean = false

  /** The record joins the running transaction; touching it again costs nothing. */
  touch(record: LogRecord): void {
    throw new Error('being written')
  }
  /** The newest bytes: of the running transaction, of those not yet in their home, of the home. null: no such record. */
  read(key: string, options?: CallOptions): Buffer | null | Promise<Buffer | null> {
    throw new Error('being written')
  }
  /** To be awaited right before the synchronous stretch of an operation (which then may touch up to 64 KiB of records).
   *  Returns undefined when there is room. Rejects with what made a commit fail: ENOSPC, EIO, EROFS. */
  room(): undefined | Promise<void> {
    throw new Error('being written')
  }

  /** Stores a block that no transaction names yet. It belongs to the caller until `addBlocks` or `freeBlocks`. */
  putBlock(bytes: Buffer, options?: CallOptions): Promise<BlockId> {
    throw new Error('being written')
  }
  /** The running transaction names these blocks. */
  addBlocks(ids: readonly BlockId[]): void {
    throw new Error('being written')
  }
  /** Nothing names these blocks once the running transaction is on disk; then they are deleted. Also for loose blocks. */
  freeBlocks(ids: readonly BlockId[]): void {
    throw new Error('being written')
  }

  /** Everything touched so far is in the store (not on its disk). */
  commit(): Promise<void> {
    throw new Error('being written')
  }
  /** Everything touched so far is on the store's disk. */
  fsync(): Promise<void> {
    throw new Error('being written')
  }
  /** Commits, syncs, deletes what is free, checkpoints, stops its timers. Twice does nothing the second time. */
  [Symbol.asyncDispose](): Promise<void> {
    throw new Error('being written')
  }
}
