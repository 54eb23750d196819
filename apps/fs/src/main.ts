import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MiB } from '@qsfs/bytes/units'
import { systemClock } from '@qsfs/concurrency/clock'
import { Wakefulness } from '@qsfs/concurrency/wakefulness'
import { loadSection } from '@qsfs/config/load'
import { serveControl } from '@qsfs/daemon/control'
import { leftToNext } from '@qsfs/daemon/failure'
import { type DaemonContext, ExpectedFailure, runDaemon } from '@qsfs/daemon/run'
import { FuseError } from '@qsfs/fuse/errno'
import type { Filesystem } from '@qsfs/fuse/filesystem'
import { abandonMount, mountedDevice, mountingUser, requireMountpoint } from '@qsfs/fuse/mount'
import { RequestCounts } from '@qsfs/fuse/request-counts'
import { openFilesOf } from '@qsfs/fuse/resume/open-files'
import { repeat } from '@qsfs/fuse/resume/repeat'
import { RequestJournal, type Unfinished } from '@qsfs/fuse/resume/request-journal'
import { sessionDefaults } from '@qsfs/fuse/session'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import type { Log } from '@qsfs/telemetry/log'
import { type FsConfig, fsSchema } from './config.ts'
import { connector, openStore } from './open-store.ts'
import { VolumeFilesystem } from './ops/filesystem.ts'
import { Volume } from './ops/volume.ts'
import { BackendCapacity } from './state/backend-capacity.ts'
import { marginOf } from './state/dispersal.ts'
import { FileStates } from './state/file-state.ts'
import { SegmentStates } from './state/segment-states.ts'
import { ServerCapacity } from './state/server-capacity.ts'
import { stateRequest } from './state/state-request.ts'
import { StoreCalls } from './store/store-calls.ts'
import { type HeldMount, serveTransport } from './transport.ts'

type HeldFds = readonly [mount: number, journal: number, otherJournal: number]

await runDaemon('fs', async ({ argv, log, stack, stop }: DaemonContext) => {
  const { configPath, heldFds } = parseArguments(argv)
  const config = loadSection(fsSchema, { path: configPath, section: 'fs' })
  const held = heldFds === null ? null : await heldMount(heldFds, config, log)
  // Before the store: opening that takes the namespaces away from whoever serves them at the same place.
  if (config.transport === 'kernel' && held === null) await requireMountpoint(config.mountpoint)
  // What the block cache lets go of it takes again soon: for as much fresh memory the collector marks the heap sixteen times.
  const blockMemory = new BulkPool({ spareBytesMax: config.blockCacheBytesMax + 16 * MiB })
  const calls = new StoreCalls()
  const wakefulness = new Wakefulness(systemClock, { pollUs: config.pollUs, mayPoll: () => !calls.areMany })
  const connect = calls.watched(connector(config, blockMemory), wakefulness)
  const store = stack.use(await openStore(config, connect, blockMemory, log))
  const limits = {
    dirtyBytesMax: config.dirtyBytesMax,
    blockCacheBytesMax: config.blockCacheBytesMax,
    writeWaitMs: config.writeWaitMs,
    quotaBytesMax: config.quotaBytesMax,
    quotaInodesMax: config.quotaInodesMax,
    rootOwner: mountingUser(),
  }
  const volume = stack.use(await Volume.open(store, systemClock, log, limits, held?.journal))
  const { storSocket } = config
  const backends = storSocket === undefined ? null : new BackendCapacity(storSocket, systemClock)
  const capacity = stack.use(new ServerCapacity(connect, config.namespaces.data, systemClock, backends))
  const segments = stack.use(new SegmentStates(connect, config.namespaces.data, systemClock))
  const states = new FileStates(volume, {
    of: ids => segments.of(ids),
    marginOf: storSocket === undefined ? null : objectIds => marginOf(storSocket, objectIds),
  })
  const filesystem = new VolumeFilesystem(volume, {
    states,
    opensSilently: config.transport === 'kernel',
    capacity: async () => volume.quota.limit(await capacity.get()),
  })
  if (volume.unfinished !== null) await finish(volume, volume.unfinished, filesystem, config, log)
  const counts = new RequestCounts()
  const serving = { counts, wakefulness, held }
  const transport = stack.use(await serveTransport(filesystem, config, serving, log))
  let isLeaving = false
  transport.ended.then(() => isLeaving || stop(), stop)
  if (held !== null) {
    process.once('SIGUSR2', () => {
      isLeaving = true
      log.event('mount.leaving')
      transport
        .leave()
        .then(() => stop(new ExpectedFailure(leftToNext, 'left the mount to the next fs, as it was told to')), stop)
    })
  }
  await transport.usable
  // Last, so that whoever gets an answer here finds the mount usable.
  if (config.controlSocket !== undefined) {
    const status = () => statusOf(volume, config, counts)
    const handlers = { status, state: stateRequest(volume, states), sync: () => volume.sync() }
    stack.use(await serveControl(config.controlSocket, handlers, log))
  }
  log.event('mount.ready', { mountpoint: config.mountpoint, transport: config.transport })
})

async function heldMount([fd, ...journalFds]: HeldFds, config: FsConfig, log: Log): Promise<HeldMount> {
  try {
    const journal = new RequestJournal(journalFds, log)
    return { fd, journal, isResumed: !journal.isNew }
  } catch (cause) {
    return endHeldMount(config, 'what the fs before had answered cannot be read', cause)
  }
}

/** Nobody can go on with it: no fs of this start, and none of the next, which would try the same for ever. */
async function endHeldMount({ mountpoint }: FsConfig, why: string, cause: unknown): Promise<never> {
  await abandonMount(mountpoint)
  const consequence = 'programs that use it get errors from now on, and the next fs mounts it anew'
  throw new ExpectedFailure(1, `the mount ${mountpoint} is ended, because ${why} (${cause}): ${consequence}`, { cause })
}

/** Lets happen again what the process before had answered, so that its mount goes on where it ended. */
async function finish(
  volume: Volume,
  unfinished: Unfinished,
  filesystem: Filesystem,
  config: FsConfig,
  log: Log,
): Promise<void> {
  const { entries, lostNodeIds } = unfinished
  try {
    await repeat(filesystem, unfinished, repetition => volume.repeatAt(repetition), sessionDefaults, log)
    volume.repeatAt(null)
    await volume.metadata.commit()
  } catch (error) {
    // What lies with the store heals there, and the next fs tries again.
    if (error instanceof FuseError) throw error
    await endHeldMount(config, 'what the fs before had answered cannot happen again', error)
  }
  volume.journal?.repeated()
  const { lostBytes } = volume
  const device = lostBytes.nodeIds.length === 0 ? null : await mountedDevice(config.mountpoint)
  if (device !== null) lostBytes.noteOpenFiles(openFilesOf(device, lostBytes.nodeIds))
  volume.unfinished = null
  log.event('mount.resumed', { repeatedCount: entries.length, filesWithLostBytes: lostNodeIds.length })
}

/** `--config FILE`; without it the example beside this program. `--held-mount FD,FD,FD` comes from `qsfs up`: an open
 *  /dev/fuse that is mounted, and the two files of its journal. */
function parseArguments(argv: readonly string[]): { configPath: string; heldFds: HeldFds | null } {
  try {
    const options = { config: { type: 'string' }, 'held-mount': { type: 'string' } } as const
    const { values } = parseArgs({ args: [...argv], options })
    const [mount, journal, otherJournal] = values['held-mount']?.split(',').map(Number) ?? []
    const heldFds = mount === undefined ? null : ([mount, journal!, otherJournal!] as const)
    return { configPath: values.config ?? join(import.meta.dirname, '../example.toml'), heldFds }
  } catch (cause) {
    throw new ExpectedFailure(2, `${(cause as Error).message}; usage: fs [--config FILE] [--supervised]`, { cause })
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
    recordMemoryBytes: records.memoryBytes,
    orphans: orphans.count,
    requests: counts.all(),
  }
}
