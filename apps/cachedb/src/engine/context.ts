import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { Log } from '@qsfs/telemetry/log'
import type { Storage } from '../segment/storage.ts'
import type { Compactor } from './compaction/compactor.ts'
import type { Hooks } from './hooks/hooks.ts'
import type { EngineMetrics } from './metrics/engine-metrics.ts'
import type { OpenFiles } from './shelf/open-files.ts'
import type { Room } from './shelf/room.ts'
import type { ValueCache } from './value-cache.ts'

/** What all namespaces of one server share. */
export interface EngineContext {
  readonly storage: Storage
  readonly clock: Clock
  readonly log: Log
  readonly random: RandomSource
  readonly hooks: Hooks
  readonly room: Room
  readonly compactor: Compactor
  readonly files: OpenFiles
  readonly values: ValueCache
  readonly metrics: EngineMetrics
  /** 16 hex digits, random per server process. */
  readonly instance: string
  readonly limits: EngineLimits
}

export interface EngineLimits {
  /** A segment that would grow past this is closed first; at most 2 GiB. */
  readonly segmentBytesMax: number
  /** `interval`: the engine syncs each second by itself; `always`: callers await `sync` before they reply. */
  readonly fsync: 'on-request' | 'always' | 'interval'
}
