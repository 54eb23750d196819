import { crc32c } from '@qsfs/bytes/checksum'
import type { Clock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import type { Prng } from '@qsfs/testkit/prng'
import { Compactor } from '../src/engine/compaction/compactor.ts'
import type { EngineContext } from '../src/engine/context.ts'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { EngineMetrics } from '../src/engine/metrics/engine-metrics.ts'
import { type KeyMode, Namespace, type NamespaceSettings } from '../src/engine/namespace.ts'
import type { ScanPage } from '../src/engine/scan/walks.ts'
import { OpenFiles } from '../src/engine/shelf/open-files.ts'
import { Room } from '../src/engine/shelf/room.ts'
import { ValueCache } from '../src/engine/value-cache.ts'
import type { Storage } from '../src/segment/storage.ts'

export interface FixtureOptions {
  readonly hooks?: Hooks
  readonly clock?: Clock
  readonly segmentBytesMax?: number
  readonly limitBytes?: number
  readonly valueCacheBytes?: number
  readonly openFilesMax?: number
  /** 0: no compaction. */
  readonly compactBelow?: number
  readonly compactBytesPerSecond?: number
}

/** What an engine under test runs in: a disk, seeded randomness, a clock that stands still, small segments. */
export function engineContext(storage: Storage, prng: Prng, options: FixtureOptions = {}): EngineContext {
  const {
    hooks = noHooks,
    clock = new ManualClock(),
    segmentBytesMax = 4096,
    limitBytes = 0,
    valueCacheBytes = 0,
    openFilesMax = 256,
    compactBelow = 0,
    compactBytesPerSecond = 0,
  } = options
  return {
    storage,
    clock,
    hooks,
    log: silentLog,
    random: lengthBytes => prng.bytes(lengthBytes),
    room: new Room(clock, { limitBytes, segmentBytesMax, freeBytes: () => storage.freeBytes('/') }),
    compactor: new Compactor(clock, {
      below: compactBelow,
      bytesPerSecond: compactBytesPerSecond,
      excluded: new Set(),
    }),
    files: new OpenFiles(storage, openFilesMax),
    values: new ValueCache(valueCacheBytes),
    metrics: new EngineMetrics(),
    instance: prng.bytes(8).toString('hex'),
    limits: { segmentBytesMax, fsync: 'on-request' },
  }
}

export function settingsOf(mode: KeyMode): NamespaceSettings {
  return { mode, maxBytes: 0, public: true, worm: false, password: '' }
}

export function openNamespace(
  context: EngineContext,
  mode: KeyMode,
  { name = 'ns', pinned = false } = {},
): Promise<Namespace> {
  return Namespace.open(name, `/data/${name}`, settingsOf(mode), { pinned }, context)
}

/** All that lives, by SCAN and GET: key in hex → digest of the value. */
export async function contentsOf(namespace: Namespace): Promise<Map<string, string>> {
  const contents = new Map<string, string>()
  for (let after: Buffer | null = null; ; ) {
    const page: ScanPage | null = await namespace.scan(after, 1_000)
    if (page === null) return contents
    for (const { key } of page.entries) {
      const value = await namespace.get(key, { cold: 'wait' })
      if (value === null) throw new Error(`SCAN named ${key.toString('hex')}, which GET does not find`)
      contents.set(key.toString('hex'), digest(value))
    }
    after = page.cursor
  }
}

export function digest(value: Buffer): string {
  return `${value.length}:${crc32c(value)}`
}
