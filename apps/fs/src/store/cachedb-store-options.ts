import { MiB } from '@qsfs/bytes/units'
import type { BulkPool } from '@qsfs/resp/bulk-pool'

export interface CachedbStoreOptions {
  /** A read that has no answer by then is EIO. */
  readonly readWaitMs: number
  /** So long a write waits for room or for the server to come back. */
  readonly writeWaitMs: number
  /** Bytes sent and not answered. */
  readonly inFlightBytesMax: number
  /** What was answered is synced in the background after this long, or this much. */
  readonly syncDelayMs: number
  readonly syncBytes: number
  /** The record that no two mounts leave alike: a changed one means that another process owns the namespaces. */
  readonly guardKey: string
  /** Where the replies of connections for bulk lie. */
  readonly blockMemory: BulkPool
}

export const cachedbStoreDefaults: Omit<CachedbStoreOptions, 'blockMemory'> = {
  readWaitMs: 60_000,
  writeWaitMs: 30_000,
  inFlightBytesMax: 8 * MiB,
  syncDelayMs: 1000,
  syncBytes: 64 * MiB,
  guardKey: 'c',
}
