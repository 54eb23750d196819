import type { Clock } from '@qsfs/concurrency/clock'
import { HookEnvironment, HookEvent } from '@qsfs/protocol/hook-events'
import type { Log } from '@qsfs/telemetry/log'
import { Metrics } from '@qsfs/telemetry/metrics'
import { FailureLog } from './failure-log.ts'
import { HookMetrics } from './hook-metrics.ts'
import { type HookLimits, HookPools } from './hook-pools.ts'
import type { HookEnd, HookRequest } from './hook-protocol.ts'
import { HookRunnerProcess } from './hook-runner-process.ts'
import {
  HookFailed,
  type HookRun,
  type Hooks,
  type HooksState,
  HookWithdrawn,
  type IndexClosed,
  type SegmentClosed,
  type SegmentDeleted,
  type SegmentMissing,
} from './hooks.ts'

export interface ExecHooksOptions extends HookLimits {
  /** The program, run without a shell. */
  readonly path: string
  /** argv[2] of every event: `unix:///path` or `tcp://host:port`. */
  readonly instanceId: string
  /** Handed to hooks as QSFS_STOR_SOCKET. */
  readonly storSocket?: string | undefined
}

/** 0-db's HOOKS shows ended runs for this long; and never more than so many. */
const shownSeconds = 300
const shownMax = 1_000
const crashId = 0

/** Runs a program per event through the hook-runner. */
export class ExecHooks implements Hooks, AsyncDisposable {
  readonly configured = true
  readonly #options: ExecHooksOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #pools: HookPools
  readonly #metrics: HookMetrics
  readonly #failures: FailureLog
  readonly #runs: Running[] = []
  #runner: HookRunnerProcess
  #restart: Promise<HookRunnerProcess> | null = null
  #ended = false
  #lastId = crashId
  #succeeded = 0
  #failed = 0

  private constructor(options: ExecHooksOptions, clock: Clock, log: Log, metrics: Metrics, runner: HookRunnerProcess) {
    this.#options = options
    this.#clock = clock
    this.#log = log
    this.#runner = runner
    this.#pools = new HookPools(options)
    this.#failures = new FailureLog(clock, log)
    this.#metrics = new HookMetrics(metrics, {
      running: () => this.#runningByEvent(),
      waiting: () => this.#pools.waiting(),
    })
    this.#armCrash()
  }

  /** Starts the hook-runner: do it before data is loaded. */
  static async start(options: ExecHooksOptions, clock: Clock, log: Log, metrics = new Metrics()): Promise<ExecHooks> {
    return new ExecHooks(options, clock, log, metrics, await HookRunnerProcess.start())
  }

  async indexClosed({ hintPath, nextHintPath, dirtyIds }: IndexClosed, signal?: AbortSignal): Promise<boolean> {
    const args = [hintPath, nextHintPath, dirtyIds.join(' ')]
    return (await this.#exitCode(HookEvent.jumpIndex, args, signal)) === 0
  }

  async segmentClosed(
    { dataPath, nextDataPath, hintPath }: SegmentClosed,
    signal?: AbortSignal,
  ): Promise<string | null> {
    const env = { [HookEnvironment.hintPath]: hintPath }
    const { objectId } = await this.#succeed(HookEvent.jumpData, [dataPath, nextDataPath], env, signal)
    return objectId
  }

  async segmentMissing({ dataPath, hintPath, objectId }: SegmentMissing, signal?: AbortSignal): Promise<void> {
    const env = {
      [HookEnvironment.hintPath]: hintPath,
      ...(objectId === null ? {} : { [HookEnvironment.objectId]: objectId }),
    }
    await this.#succeed(HookEvent.missingData, [dataPath], env, signal)
  }

  async segmentDeleted({ dataPath, objectId }: SegmentDeleted, signal?: AbortSignal): Promise<void> {
    const env = { [HookEnvironment.objectId]: objectId }
    await this.#succeed(HookEvent.segmentDeleted, [dataPath, objectId], env, signal)
  }

  event(name: HookEvent, args: readonly string[]): Promise<number | null> {
    return this.#exitCode(name, args)
  }

  async #exitCode(name: HookEvent, args: readonly string[], signal?: AbortSignal): Promise<number | null> {
    try {
      await this.#succeed(name, args, {}, signal)
      return 0
    } catch (error) {
      if (!(error instanceof HookFailed)) throw error
      return error instanceof HookExited ? error.exitCode : null
    }
  }

  runs(): readonly HookRun[] {
    this.#forgetOld()
    return this.#runs
  }

  state(): HooksState {
    return {
      succeeded: this.#succeeded,
      failed: this.#failed,
      running: this.#runs.filter(isRunning).length,
      waiting: this.#pools.waiting().reduce((sum, [, waiting]) => sum + waiting, 0),
      failing: this.#failures.failing,
      lastFailure: this.#failures.last,
    }
  }

  /** Ends the hook-runner and all that may not outlive it; what is asked for afterwards fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true
    // Its failure is heard by who asked for it.
    await this.#restart?.catch(() => undefined)
    await this.#runner[Symbol.asyncDispose]()
  }

  /** Runs one hook to its end, when its pool has room. @throws HookFailed unless it exits 0 */
  async #succeed(
    event: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<HookEnd> {
    try {
      using _permit = await this.#pools.enter(event, signal)
      const end = await this.#run(event, args, env)
      if (end.result !== 'ok') throw new HookExited(`${event} ${end.reason}`, end.exitCode)
      this.#succeeded++
      this.#failures.worked(event)
      return end
    } catch (error) {
      // What the end of the server cuts short has not failed.
      const isFailure = error instanceof HookFailed && !(error instanceof HookWithdrawn) && !this.#ended
      if (isFailure) {
        this.#failed++
        this.#failures.failed(event, args, error.message)
      }
      throw error
    }
  }

  async #run(event: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<HookEnd> {
    const runner = await this.#liveRunner()
    const run: Running = { event, args, pid: 0, startSeconds: this.#nowSeconds(), endSeconds: 0, exitCode: 0 }
    this.#forgetOld()
    this.#runs.push(run)
    const startMs = this.#clock.monotonicMs()
    let result = 'not_run'
    try {
      const end = await runner.run(this.#request(++this.#lastId, event, args, env), pid => {
        run.pid = pid
      })
      result = end.result
      run.exitCode = end.exitCode ?? 1
      return end
    } catch (error) {
      run.exitCode = 1
      throw error
    } finally {
      run.endSeconds = this.#nowSeconds()
      const durationMs = this.#clock.monotonicMs() - startMs
      this.#metrics.ended(event, result, durationMs)
      this.#log.debug('hook.ended', {
        hook: event,
        args,
        result,
        exitCode: run.exitCode,
        durationMs: Math.round(durationMs),
      })
    }
  }

  #request(id: number, event: string, args: readonly string[], env: Readonly<Record<string, string>>): HookRequest {
    const { path, instanceId, storSocket } = this.#options
    return {
      id,
      path,
      args: [event, instanceId, ...args],
      env: storSocket === undefined ? env : { ...env, [HookEnvironment.storSocket]: storSocket },
      timeoutMs: this.#pools.timeoutMs(event),
      outlives: this.#pools.outlives(event),
    }
  }

  /** The runner, started again when it died: once for all who miss it. */
  async #liveRunner(): Promise<HookRunnerProcess> {
    if (this.#ended) throw new HookFailed('no more hooks are run')
    if (!this.#runner.isGone) return this.#runner
    this.#restart ??= HookRunnerProcess.start().finally(() => {
      this.#restart = null
    })
    const fresh = await this.#restart
    if (this.#runner === fresh) return fresh
    this.#log.error('hook_runner.restarted')
    this.#runner = fresh
    this.#armCrash()
    return fresh
  }

  /** The runner outlives a crash, whatever it is of, and says so. */
  #armCrash(): void {
    this.#runner.onCrash(this.#request(crashId, HookEvent.crash, [], {}))
  }

  #runningByEvent(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { event } of this.#runs.filter(isRunning)) counts.set(event, (counts.get(event) ?? 0) + 1)
    return counts
  }

  #forgetOld(): void {
    const oldest = this.#nowSeconds() - shownSeconds
    const isOver = (run: Running) => !isRunning(run) && (run.endSeconds < oldest || this.#runs.length > shownMax)
    for (let i = 0; i < this.#runs.length; ) {
      if (isOver(this.#runs[i]!)) this.#runs.splice(i, 1)
      else i++
    }
  }

  #nowSeconds(): number {
    return Math.floor(this.#clock.nowMs() / 1000)
  }
}

type Running = { -readonly [K in keyof HookRun]: HookRun[K] }

function isRunning({ endSeconds }: HookRun): boolean {
  return endSeconds === 0
}

/** A hook that ran and did not exit 0. */
class HookExited extends HookFailed {
  /** null when a signal or a timeout ended it, or it could not be run. */
  readonly exitCode: number | null
  constructor(message: string, exitCode: number | null) {
    super(message)
    this.exitCode = exitCode
  }
}
