import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { systemClock } from '@qsfs/concurrency/clock'
import { fromCaller } from '@qsfs/config/caller'
import { loadSection } from '@qsfs/config/load'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { lockFile } from '@qsfs/daemon/lock-file'
import { createLog } from '@qsfs/telemetry/log'
import { Metrics } from '@qsfs/telemetry/metrics'
import { type CachedbConfig, cachedbSchema } from './config.ts'
import { Compactor } from './engine/compaction/compactor.ts'
import type { EngineContext } from './engine/context.ts'
import { finishDrop } from './engine/dropped.ts'
import { ExecHooks } from './engine/hooks/exec-hooks.ts'
import { HookFailed, type Hooks, noHooks } from './engine/hooks/hooks.ts'
import { EngineMetrics } from './engine/metrics/engine-metrics.ts'
import { Namespace } from './engine/namespace.ts'
import { freshSettings, isAllowedName } from './engine/namespaces.ts'
import { OpenFiles, openFilesMax } from './engine/shelf/open-files.ts'
import { Room } from './engine/shelf/room.ts'
import { ValueCache } from './engine/value-cache.ts'
import { type ExportedNamespace, exportNamespace } from './engine/zdb/export.ts'
import { SegmentUnavailable } from './errors.ts'
import { hookOptions } from './hook-options.ts'
import { DiskStorage } from './segment/disk-storage.ts'
import { FormatError } from './segment/format.ts'
import { type Storage, StorageError } from './segment/storage.ts'

export interface ExportRequest {
  /** A qsfs.toml, or a data directory alone: then nothing can be fetched from a store. */
  readonly source: { readonly config: string } | { readonly data: string }
  /** Empty: all. */
  readonly namespaces: readonly string[]
  /** Gets `data` and `index`; must hold nothing yet. */
  readonly target: string
}

/** `cachedb export`: writes what lives as directories that 0-db opens. The server must not run.
 *  @param report told each namespace when it is written
 *  @throws ExpectedFailure */
export async function exportAll(
  request: ExportRequest,
  report: (name: string, exported: ExportedNamespace) => void,
): Promise<void> {
  const config = configOf(request)
  const { dataDirectory } = config
  const storage = new DiskStorage()
  await using stack = new AsyncDisposableStack()
  if (!storage.list(dataDirectory).some(({ isDirectory }) => isDirectory))
    throw new ExpectedFailure(1, `${dataDirectory} holds no namespace`)
  stack.use(lockFile(join(dataDirectory, '.lockfile'), `the data directory ${dataDirectory}`))
  const names = namesOf(storage, dataDirectory, request.namespaces)
  const log = createLog({ name: 'cachedb', level: 'warn' })
  const hooks =
    config.hookPath === undefined ? noHooks : stack.use(await ExecHooks.start(hookOptions(config), systemClock, log))
  const context: EngineContext = {
    storage,
    clock: systemClock,
    log,
    random: randomBytes,
    hooks: onlyFetching(hooks),
    room: new Room(systemClock, {
      limitBytes: config.cacheBytesMax,
      segmentBytesMax: config.segmentBytesMax,
      freeBytes: () => storage.freeBytes(dataDirectory),
    }),
    compactor: new Compactor(systemClock, { ...config.compaction, below: 0 }),
    files: new OpenFiles(storage, openFilesMax),
    values: new ValueCache(0),
    metrics: new EngineMetrics(new Metrics()),
    instance: randomBytes(8).toString('hex'),
    limits: { segmentBytesMax: config.segmentBytesMax, fsync: 'on-request' },
  }
  const output = prepare(storage, fromCaller(request.target))
  for (const name of names) {
    // Dropped, and its files are still on their way out: no namespace.
    if (await explained(name, finishDrop(join(dataDirectory, name), context))) continue
    report(name, await explained(name, exportOne(name, config, output, context)))
  }
  storage.rename(output.dataRoot, join(output.target, 'data'))
  storage.rename(output.indexRoot, join(output.target, 'index'))
  await storage.syncDirectory(output.target)
}

function configOf({ source }: ExportRequest): CachedbConfig {
  if ('config' in source) return loadSection(cachedbSchema, { path: source.config, section: 'cachedb' })
  // Listening is not done here; the schema wants to know where.
  const overrides = { data_dir: source.data, listen: '127.0.0.1:0' }
  return loadSection(cachedbSchema, { path: undefined, section: 'cachedb', overrides })
}

function namesOf(storage: Storage, dataDirectory: string, wanted: readonly string[]): readonly string[] {
  const there = storage
    .list(dataDirectory)
    .filter(({ name, isDirectory }) => isDirectory && isAllowedName(name))
    .map(({ name }) => name)
    .sort()
  for (const name of wanted)
    if (!there.includes(name)) throw new ExpectedFailure(1, `${dataDirectory} holds no namespace ${name}`)
  return wanted.length > 0 ? wanted : there
}

interface Output {
  readonly target: string
  readonly dataRoot: string
  readonly indexRoot: string
}

/** Where it is written until all of it is there. What an export that was interrupted left is removed. */
function prepare(storage: Storage, target: string): Output {
  const output = { target, dataRoot: join(target, '.export-data'), indexRoot: join(target, '.export-index') }
  if (storage.list(target).some(({ name }) => !name.startsWith('.export-')))
    throw new ExpectedFailure(1, `${target} is not empty`)
  for (const directory of [output.dataRoot, output.indexRoot]) {
    storage.removeDirectory(directory)
    storage.makeDirectory(directory)
  }
  return output
}

async function exportOne(
  name: string,
  config: CachedbConfig,
  { dataRoot, indexRoot }: Output,
  context: EngineContext,
): Promise<ExportedNamespace> {
  const { dataDirectory, mode, zdbIndexDirectory, pinnedNamespaces, segmentBytesMax: fileBytesMax } = config
  const zdb = { indexRoot: zdbIndexDirectory ?? null, mode: mode === 'mixed' ? null : mode }
  const options = { pinned: pinnedNamespaces.includes(name), zdb }
  const nowSeconds = Math.floor(systemClock.nowMs() / 1000)
  await using namespace = await Namespace.open(name, join(dataDirectory, name), freshSettings(mode), options, context)
  const { storage } = context
  return await exportNamespace(namespace, { storage, dataRoot, indexRoot, fileBytesMax, nowSeconds })
}

/** Segments are brought back; none is stored or deleted by an export. What is owed stays owed. */
function onlyFetching(hooks: Hooks): Hooks {
  return {
    ...noHooks,
    segmentMissing: missing => hooks.segmentMissing(missing),
    segmentDeleted: async () => {
      throw new HookFailed('an export deletes nothing')
    },
  }
}

async function explained<T>(name: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    const isExpected =
      error instanceof SegmentUnavailable || error instanceof FormatError || error instanceof StorageError
    if (!isExpected) throw error
    const reason = error instanceof SegmentUnavailable ? error.reason : error.message
    throw new ExpectedFailure(1, `the namespace ${name} cannot be exported: ${reason}`, { cause: error })
  }
}
