import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MiB } from '@qsfs/bytes/units'
import { systemClock } from '@qsfs/concurrency/clock'
import { loadSection } from '@qsfs/config/load'
import { serveControl } from '@qsfs/daemon/control'
import { type DaemonContext, ExpectedFailure, runDaemon } from '@qsfs/daemon/run'
import { requireMountpoint } from '@qsfs/fuse/mount'
import { RequestCounts } from '@qsfs/fuse/request-counts'
import { BulkClient } from '@qsfs/resp/bulk-client'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { ConnectionLost, RespClient } from '@qsfs/resp/client'
import { RespError } from '@qsfs/resp/reply'
import type { Log } from '@qsfs/telemetry/log'
import { type FsConfig, fsSchema } from './config.ts'
import { VolumeFilesystem } from './ops/filesystem.ts'
import { ServerCapacity } from './ops/server-capacity.ts'
import { Volume } from './ops/volume.ts'
import { type Connect, createNamespaces } from './store/cachedb-session.ts'
import { CachedbStore } from './store/cachedb-store.ts'
import { ForeignStore } from './store/foreign-store.ts'
import type { Store } from './store/store.ts'
import { serveTransport } from './transport.ts'

/** What the store keeps in memory until a sync covers it, about: with the dirty bytes the largest part of the memory of a writer. */
const unsyncedBytesMax = 32 * MiB

/** The server may need this long to read its segments before it listens. */
const connectTimeoutMs = 10_000

await runDaemon('fs', async ({ argv, log, stack, stop }: DaemonContext) => {
  const config = loadSection(fsSchema, { path: configPath(argv), section: 'fs' })
  // Before the store: opening that takes the namespaces away from whoever serves them at the same place.
  if (config.transport === 'kernel') await requireMountpoint(config.mountpoint)
  const blockMemory = new BulkPool()
  const connect = connector(config, blockMemory)
  const store = stack.use(await openStore(config, connect, blockMemory, log))
  const volume = stack.use(
    await Volume.open(store, systemClock, log, {
      dirtyBytesMax: config.dirtyBytesMax,
      blockCacheBytesMax: config.blockCacheBytesMax,
      writeWaitMs: config.writeWaitMs,
    }),
  )
  const capacity = stack.use(new ServerCapacity(connect, config.namespaces.data, systemClock))
  const filesystem = new VolumeFilesystem(volume, {
    opensSilently: config.transport === 'kernel',
    capacity: () => capacity.get(),
  })
  const counts = new RequestCounts()
  const transport = stack.use(
    await serveTransport(filesystem, config, { counts, storeReplyOutstanding: () => volume.isStoreBusy }, log),
  )
  transport.ended.then(() => stop(), stop)
  await transport.usable
  // Last, so that whoever gets an answer here finds the mount usable.
  if (config.controlSocket !== undefined) {
    const status = () => statusOf(volume, config, counts)
    stack.use(await serveControl(config.controlSocket, { status }, log))
  }
  log.event('mount.ready', { mountpoint: config.mountpoint, transport: config.transport })
})

/** `--config FILE`; without it the example beside this program. */
function configPath(argv: readonly string[]): string {
  try {
    const { values } = parseArgs({ args: [...argv], options: { config: { type: 'string' } } })
    return values.config ?? join(import.meta.dirname, '../example.toml')
  } catch (cause) {
    throw new ExpectedFailure(2, `${(cause as Error).message}; usage: fs [--config FILE] [--supervised]`, { cause })
  }
}

function connector(config: FsConfig, blockMemory: BulkPool): Connect {
  const { cachedbAddress: address, adminPasswordFile, readWaitMs, writeWaitMs } = config
  const adminPassword =
    adminPasswordFile === undefined ? undefined : readFileSync(adminPasswordFile, 'utf8').split('\n', 1)[0]
  // A connection on which nothing moves for as long as anybody would wait is as good as lost.
  const commandTimeoutMs = Math.max(readWaitMs, writeWaitMs)
  return ({ isForBulk = false, ...rest }) => {
    const options = { address, adminPassword, connectTimeoutMs, commandTimeoutMs, ...rest }
    return isForBulk ? BulkClient.connect(options, blockMemory) : RespClient.connect(options)
  }
}

async function openStore(config: FsConfig, connect: Connect, blockMemory: BulkPool, log: Log): Promise<Store> {
  const { cachedbAddress, namespaces, readWaitMs, writeWaitMs } = config
  try {
    await createNamespaces(connect, namespaces)
    return config.store === 'owned'
      ? await CachedbStore.open(connect, namespaces, systemClock, randomBytes, log, {
          readWaitMs,
          writeWaitMs,
          syncBytes: unsyncedBytesMax,
          blockMemory,
        })
      : await ForeignStore.open(connect, namespaces, systemClock, { waitMs: writeWaitMs })
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

function statusOf(volume: Volume, { mountpoint, transport }: FsConfig, counts: RequestCounts) {
  const { buffer, blocks, records, store, orphans } = volume
  return {
    mountpoint,
    transport,
    dirtyBytes: buffer.dirtyBytes,
    waitingBytes: buffer.waitingBytes,
    flushFailure: buffer.failure === null ? null : String(buffer.failure),
    unsyncedBytes: store.unsyncedBytes,
    blockCacheBytes: blocks.sizeBytes,
    recordsInMemory: records.count,
    orphans: orphans.count,
    requests: counts.all(),
  }
}
