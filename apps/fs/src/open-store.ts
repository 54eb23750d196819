import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { MiB } from '@qsfs/bytes/units'
import { systemClock } from '@qsfs/concurrency/clock'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { BulkClient } from '@qsfs/resp/bulk-client'
import type { BulkPool } from '@qsfs/resp/bulk-pool'
import { ConnectionLost } from '@qsfs/resp/client'
import { RespError } from '@qsfs/resp/reply'
import type { Log } from '@qsfs/telemetry/log'
import type { FsConfig } from './config.ts'
import { type Connect, createNamespaces } from './store/cachedb-session.ts'
import { CachedbStore } from './store/cachedb-store.ts'
import { ForeignStore } from './store/foreign-store.ts'
import type { Store } from './store/store.ts'

/** What the store keeps in memory until a sync covers it, about: with the dirty bytes the largest part of the memory of a writer. */
const unsyncedBytesMax = 32 * MiB

/** The server may need this long to read its segments before it listens. */
const connectTimeoutMs = 10_000

/** Makes connections to the configured server. */
export function connector(config: FsConfig, blockMemory: BulkPool): Connect {
  const { cachedbAddress: address, adminPasswordFile, readWaitMs, writeWaitMs } = config
  const adminPassword = adminPasswordFile === undefined ? undefined : firstLineOf(adminPasswordFile)
  // A connection on which nothing moves for as long as anybody would wait is as good as lost.
  const commandTimeoutMs = Math.max(readWaitMs, writeWaitMs)
  return options =>
    BulkClient.connect({ address, adminPassword, connectTimeoutMs, commandTimeoutMs, ...options }, blockMemory)
}

function firstLineOf(adminPasswordFile: string): string {
  try {
    return readFileSync(adminPasswordFile, 'utf8').split('\n', 1)[0]!
  } catch (cause) {
    throw new ExpectedFailure(2, `admin_password_file cannot be read: ${(cause as Error).message}`, { cause })
  }
}

/** Takes the configured namespaces over, or makes them.
 *  @throws ExpectedFailure */
export function openStore(config: FsConfig, connect: Connect, blockMemory: BulkPool, log: Log): Promise<Store> {
  const { namespaces, readWaitMs, writeWaitMs } = config
  return withServer(config, async () => {
    await createNamespaces(connect, namespaces)
    return config.store === 'owned'
      ? await CachedbStore.open(connect, namespaces, systemClock, randomBytes, log, {
          readWaitMs,
          writeWaitMs,
          syncBytes: unsyncedBytesMax,
          blockMemory,
        })
      : await ForeignStore.open(connect, namespaces, systemClock, { waitMs: writeWaitMs })
  })
}

/** Says in a sentence that the server is not there, or says no.
 *  @throws ExpectedFailure; whatever else `use` throws */
export async function withServer<T>({ cachedbAddress }: FsConfig, use: () => Promise<T>): Promise<T> {
  try {
    return await use()
  } catch (cause) {
    if (cause instanceof ConnectionLost) {
      throw new ExpectedFailure(1, `no server answers at ${cachedbAddress}: ${cause.message}`, { cause })
    }
    if (cause instanceof RespError) {
      throw new ExpectedFailure(1, `the server at ${cachedbAddress} refuses: ${cause.message}`, { cause })
    }
    throw cause
  }
}
