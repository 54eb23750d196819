import type { Metrics } from '@qsfs/telemetry/metrics'
import type { HookPool } from './hook-pools.ts'

const secondsBuckets = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000]

/** What of hooks is counted for Prometheus. */
export class HookMetrics {
  readonly #runs
  readonly #seconds

  constructor(
    metrics: Metrics,
    now: {
      readonly running: () => Iterable<readonly [event: string, count: number]>
      readonly waiting: () => Iterable<readonly [pool: HookPool, count: number]>
    },
  ) {
    this.#runs = metrics.counter(
      'qsfs_cachedb_hooks_total',
      'Hooks that ended, by how: ok, failed, killed, timeout, not_run',
      ['event', 'result'],
    )
    this.#seconds = metrics.histogram('qsfs_cachedb_hook_seconds', 'Time from start to end of a hook', secondsBuckets, [
      'event',
    ])
    metrics.computed('gauge', 'qsfs_cachedb_hooks_running', 'Hooks running now', ['event'], function* () {
      for (const [event, count] of now.running()) yield [[event], count]
    })
    metrics.computed(
      'gauge',
      'qsfs_cachedb_hooks_waiting',
      'Hooks that wait for others of their pool',
      ['pool'],
      function* () {
        for (const [pool, count] of now.waiting()) yield [[pool], count]
      },
    )
  }

  ended(event: string, result: string, durationMs: number): void {
    this.#runs.add(1, [event, result])
    this.#seconds.observe(durationMs / 1000, [event])
  }
}
