import type { Prng } from '@qsfs/testkit/prng'
import type { StoreManners } from './store.ts'

/** What the world of one run is like. */
export interface Knobs {
  readonly fsync: 'on-request' | 'always' | 'interval'
  readonly segmentBytesMax: number
  readonly valueCacheBytes: number
  readonly openFilesMax: number
  /** null: no hook is configured. */
  readonly store: StoreManners | null
  /** In segments; 0: no limit. */
  readonly limitSegments: number
  /** How often a turn begins with a disk that is nearly full, with a sync that will fail. */
  readonly fullness: number
  readonly syncFailures: number
  readonly afterFailedSync: 'cache' | 'disk'
  /** The filesystem shows room where there is a quota. */
  readonly hasQuota: boolean
  /** Between two lives files rot that can be had again. */
  readonly rots: boolean
  readonly keysMax: number
  /** Share of needed bytes under which segments are rewritten; 0: never. */
  readonly compactBelow: number
  readonly compactBytesPerSecond: number
  /** Turns of the loop that the longest sync takes. */
  readonly syncTurnsMax: number
}

export function pickKnobs(prng: Prng): Knobs {
  const store = prng.chance(0.6) ? { failures: prng.pick([0, 0.3]), slowness: prng.pick([0, 0.2]) } : null
  return {
    fsync: prng.pick(['on-request', 'on-request', 'on-request', 'always', 'interval']),
    segmentBytesMax: prng.pick([300, 1_000, 4_000]),
    valueCacheBytes: prng.pick([0, 2_000]),
    openFilesMax: prng.pick([2, 256]),
    store,
    limitSegments: store !== null && prng.chance(0.6) ? 6 + prng.below(8) : 0,
    fullness: prng.chance(0.3) ? 0.03 : 0,
    syncFailures: prng.chance(0.3) ? prng.pick([0.02, 0.1]) : 0,
    afterFailedSync: prng.pick(['cache', 'disk']),
    hasQuota: prng.chance(0.5),
    rots: prng.chance(0.4),
    keysMax: prng.pick([4, 12, 40]),
    compactBelow: prng.pick([0, 0.5, 0.9]),
    compactBytesPerSecond: prng.pick([0, 2_000]),
    syncTurnsMax: prng.pick([1, 8]),
  }
}
