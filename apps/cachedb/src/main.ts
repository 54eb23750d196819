import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '@qsfs/concurrency/clock'
import { Wakefulness } from '@qsfs/concurrency/wakefulness'
import { loadSection } from '@qsfs/config/load'
import { lockFile } from '@qsfs/daemon/lock-file'
import { serveMetrics } from '@qsfs/daemon/metrics-server'
import { ExpectedFailure, runDaemon } from '@qsfs/daemon/run'
import { HookEvent } from '@qsfs/protocol/hook-events'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { ClientDropped } from '@qsfs/resp/limits'
import { RespServer } from '@qsfs/resp/server'
import { Metrics } from '@qsfs/telemetry/metrics'
import { readAdminPassword } from './admin-password.ts'
import { Audience } from './audience.ts'
import { cachedbSchema } from './config.ts'
import { Compactor } from './engine/compaction/compactor.ts'
import type { EngineContext } from './engine/context.ts'
import { makeDataDirectory } from './engine/data-directory.ts'
import { finishDrops } from './engine/dropped.ts'
import { ExecHooks } from './engine/hooks/exec-hooks.ts'
import { dirtyIdsMax, type Hooks, noHooks } from './engine/hooks/hooks.ts'
import { EngineMetrics } from './engine/metrics/engine-metrics.ts'
import { defaultNamespace, Namespaces } from './engine/namespaces.ts'
import { Points } from './engine/points/points.ts'
import { Rotation } from './engine/rotation.ts'
import { OpenFiles, openFilesMax } from './engine/shelf/open-files.ts'
import { Room } from './engine/shelf/room.ts'
import { ValueCache } from './engine/value-cache.ts'
import { SegmentUnavailable } from './errors.ts'
import { hookOptions } from './hook-options.ts'
import { connectionLimits, prepareListening } from './listening.ts'
import { FormatError } from './segment/format.ts'
import { MeasuredStorage } from './segment/measured-storage.ts'
import { type Storage, StorageError } from './segment/storage.ts'
import { declareServerMetrics } from './server-metrics.ts'
import { ServerStats } from './server-stats.ts'
import { type ServerState, Session } from './session.ts'

await runDaemon('cachedb', async ({ argv, signal, log, stack, stop }) => {
  const config = loadSection(cachedbSchema, { path: configPath(argv), section: 'cachedb' })
  const { dataDirectory } = config
  const listening = prepareListening(config)
  const metrics = new Metrics()
  const stats = new ServerStats(Math.floor(systemClock.nowMs() / 1000), randomInt(1, 2 ** 30), metrics)
  const pool = new BulkPool()
  const storage = new MeasuredStorage(stats.disk, pool, systemClock)
  const adminPassword = readAdminPassword(storage, config.adminPasswordFile)
  try {
    await makeDataDirectory(storage, dataDirectory)
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    throw new ExpectedFailure(1, `data_dir cannot be made: ${error.message}`, { cause: error })
  }
  stack.use(lockFile(join(dataDirectory, '.lockfile'), `the data directory ${dataDirectory}`))
  if (config.zdbIndexDirectory !== undefined) stack.use(lockIndexRoot(storage, config.zdbIndexDirectory))

  // Before data is loaded: its helper is small then, and quick to start programs.
  const hooks: Hooks =
    config.hookPath === undefined
      ? noHooks
      : stack.use(await ExecHooks.start(hookOptions(config), systemClock, log, metrics))
  const room = new Room(systemClock, {
    limitBytes: config.cacheBytesMax,
    segmentBytesMax: config.segmentBytesMax,
    freeBytes: () => storage.freeBytes(dataDirectory),
  })
  const context: EngineContext = {
    storage,
    clock: systemClock,
    log,
    random: randomBytes,
    hooks,
    room,
    compactor: new Compactor(systemClock, config.compaction),
    files: new OpenFiles(storage, openFilesMax),
    values: new ValueCache(config.valueCacheBytesMax),
    metrics: new EngineMetrics(metrics),
    instance: randomBytes(8).toString('hex'),
    limits: { segmentBytesMax: config.segmentBytesMax, fsync: config.fsync },
  }
  await unlessStopped(hooks.event(HookEvent.namespacesInit, [dataDirectory, dataDirectory]), signal)
  if (signal.aborted) return
  await finishDrops(dataDirectory, context)
  const pinned = new Set(config.pinnedNamespaces)
  const defaultOverride = {
    ...(config.isProtected ? { password: adminPassword } : {}),
    ...(config.defaultBytesMax > 0 ? { maxBytes: config.defaultBytesMax } : {}),
  }
  const { mode, zdbIndexDirectory: zdbIndexRoot } = config
  const options = { dataDirectory, mode, pinned, zdbIndexRoot, defaultOverride }
  const namespaces = stack.use(await Namespaces.open(options, context).catch(explainUnavailable))
  refuseSmallLimit(room, namespaces, pinned)
  if (config.rotateAfterMs > 0) {
    const open = () => namespaces.list().map(({ namespace }) => namespace)
    stack.use(new Rotation(systemClock, log, config.rotateAfterMs, open))
  }
  const points = stack.use(Points.open(namespaces, context))

  const state: ServerState = {
    namespaces,
    points,
    hooks,
    clock: systemClock,
    random: randomBytes,
    log,
    stats,
    audience: new Audience(systemClock),
    adminPassword,
    isProtected: config.isProtected,
    syncEachWrite: config.fsync === 'always',
    stop: config.isStopAllowed ? stop : null,
  }
  const opening = Promise.withResolvers<void>()
  const server = await RespServer.listen(listening.addresses, {
    limits: connectionLimits(config),
    opens: opening.promise,
    openSession: outlet => new Session(state, outlet),
    clientsMax: config.clientsMax,
    pool,
    clock: systemClock,
    wakefulness: new Wakefulness(systemClock, { pollUs: config.pollUs }),
    onConnectionError: error => {
      if (!(error instanceof ClientDropped)) {
        log.debug('connection.failed', { error })
        return
      }
      stats.clientsDropped++
      log.warn('client.dropped', { reason: error.message })
    },
  })
  stats.clientsLifetime = () => server.acceptedCount
  stats.clients = () => server.clientCount
  stats.traffic = () => server.traffic
  stats.residentBytes = () => process.memoryUsage.rss()
  let isOpen = false
  stack.defer(() => announceEnd(hooks, namespaces, isOpen))
  stack.use(server)
  const { metricsListen } = config
  if (metricsListen !== undefined) {
    stack.use(declareServerMetrics(state))
    const { port } = stack.use(await serveMetrics(metricsListen, () => metrics.render(), log))
    log.event('metrics.served', { host: metricsListen.host, port })
  }
  const exitCode = await unlessStopped(hooks.event(HookEvent.ready, []), signal)
  if (signal.aborted) return
  // Without an exit code it said nothing: it is a failed hook like any other, and what is here is served.
  if (exitCode !== null && exitCode !== 0)
    throw new ExpectedFailure(1, `the hook answered ${exitCode} to 'ready'; nothing is served`)
  isOpen = true
  opening.resolve()
  const { socketPath: socket, tls, listen } = config
  if (tls !== null) {
    const { sha256: certificateSha256, validTo } = listening.identity!
    log.event('tls.served', {
      host: tls.listen.host,
      port: server.ports.at(-1),
      certificateSha256,
      validTo,
      groups: tls.groups,
    })
  }
  log.event('server.ready', { socket, host: listen?.host, port: listen && server.ports[0], dataDirectory })
})

/** Without `default` no client can be served. */
function explainUnavailable(error: unknown): never {
  if (!(error instanceof SegmentUnavailable || error instanceof FormatError || error instanceof StorageError))
    throw error
  const reason = error instanceof SegmentUnavailable ? error.reason : error.message
  throw new ExpectedFailure(1, `the namespace default cannot be opened: ${reason}`, { cause: error })
}

/** `--config FILE`; without it the example beside this program. */
function configPath(argv: readonly string[]): string {
  try {
    const { values } = parseArgs({ args: [...argv], options: { config: { type: 'string' } } })
    return values.config ?? join(import.meta.dirname, '../example.toml')
  } catch (error) {
    throw new ExpectedFailure(2, `${(error as Error).message}; usage: cachedb [--config FILE] [--supervised]`, {
      cause: error,
    })
  }
}

/** A wrong path would open every namespace as public and without password. */
function lockIndexRoot(storage: Storage, directory: string): Disposable {
  if (!storage.list(directory).some(({ name, isDirectory }) => isDirectory && name === defaultNamespace))
    throw new ExpectedFailure(2, `zdb_index_dir ${directory} is no index root of 0-db: it has no namespace default`)
  return lockFile(join(directory, '.lockfile'), `the index directory ${directory}`)
}

/** What is pinned and six segments to work in must fit, else the cache would wedge. */
function refuseSmallLimit(room: Room, namespaces: Namespaces, pinned: ReadonlySet<string>): void {
  const pinnedBytes = namespaces
    .list()
    .filter(({ namespace }) => pinned.has(namespace.name))
    .flatMap(({ namespace }) => namespace.segments())
    .reduce((sum, { dataBytes }) => sum + dataBytes, 0)
  try {
    room.assertLimit(pinnedBytes)
  } catch (error) {
    throw error instanceof RangeError ? new ExpectedFailure(2, error.message, { cause: error }) : error
  }
}

/** null when the server is told to end first: whoever stops it does not wait for the hooks of its start. */
async function unlessStopped<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  if (signal.aborted) return null
  return await Promise.race([work, once(signal, 'abort').then(() => null)])
}

/** 0-db's hooks of the end: `close` is waited for, and left out when nothing was served; the namespaces' outlive the server. */
async function announceEnd(hooks: Hooks, namespaces: Namespaces, wasOpen: boolean): Promise<void> {
  if (wasOpen) await hooks.event(HookEvent.close, [])
  for (const { namespace } of namespaces.list()) {
    const { activePath, activeHintPath } = namespace.info()
    const dirtyIds = namespace.dirty.ids().slice(0, dirtyIdsMax).join(' ')
    void hooks.event(HookEvent.namespaceClosing, [namespace.name, activeHintPath, activePath, dirtyIds])
  }
}
