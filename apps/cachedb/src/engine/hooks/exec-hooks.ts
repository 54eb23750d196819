import type { Clock } from '@qsfs/concurrency/clock'
import { Semaphore } from '@qsfs/concurrency/semaphore'
import { HookEnvironment, HookEvent, storedLine } from '@qsfs/protocol/hook-events'
import type { Log } from '@qsfs/telemetry/log'
import { HookRunnerProcess } from './hook-runner-process.ts'
import {
  HookFailed,
  type HookRun,
  type Hooks,
  type SegmentClosed,
  type SegmentDeleted,
  type SegmentMissing,
} from './hooks.ts'

export interface ExecHooksOptions {
  /** The program, run without a shell. */
  readonly path: string
  /** argv[2] of every event: `unix:///path` or `tcp://host:port`. */
  readonly instanceId: string
  readonly timeoutMs: number
  readonly storeMax: number
  readonly retrieveMax: number
  /** Handed to hooks as QSFS_STOR_SOCKET. */
  readonly storSocket?: string | undefined
}

/** 0-db's HOOKS shows ended runs for this long; and never more than so many. */
const shownSeconds = 300
const shownMax = 1_000
/** Hooks at once of events that are about no segment; further ones wait. */
const eventsMax = 4

/** Runs a program per event through the hook-runner. Uploads and cold reads have pools of their own, so that neither waits for the
 *  other; deletions go one at a time through the pool of the uploads. */
export class ExecHooks implements Hooks, AsyncDisposable {
  readonly configured = true
  readonly #options: ExecHooksOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #stores: Semaphore
  readonly #retrieves: Semaphore
  readonly #deletes = new Semaphore(1)
  readonly #events = new Semaphore(eventsMax)
  readonly #runs: Running[] = []
  #runner: HookRunnerProcess
  #restart: Promise<HookRunnerProcess> | null = null
  #ended = false
  #lastId = 0

  private constructor(options: ExecHooksOptions, clock: Clock, log: Log, runner: HookRunnerProcess) {
    this.#options = options
    this.#clock = clock
    this.#log = log
    this.#runner = runner
    this.#stores = new Semaphore(options.storeMax)
    this.#retrieves = new Semaphore(options.retrieveMax)
  }

  /** Starts the hook-runner: do it before data is loaded. */
  static async start(options: ExecHooksOptions, clock: Clock, log: Log): Promise<ExecHooks> {
    return new ExecHooks(options, clock, log, await HookRunnerProcess.start())
  }

  async segmentClosed({ dataPath, nextDataPath, hintPath, nextHintPath }: SegmentClosed): Promise<string | null> {
    using _permit = await this.#stores.acquire()
    const env = { [HookEnvironment.hintPath]: hintPath }
    // Its exit code means nothing, as in 0-db; the dirty list is empty, for hints are never changed in place.
    await this.#attempt(HookEvent.jumpIndex, [hintPath, nextHintPath, ''])
    const stdout = await this.#succeed(HookEvent.jumpData, [dataPath, nextDataPath], env)
    return storedLine.exec(stdout)?.[1] ?? null
  }

  async segmentMissing({ dataPath, hintPath, objectId }: SegmentMissing): Promise<void> {
    using _permit = await this.#retrieves.acquire()
    const env = {
      [HookEnvironment.hintPath]: hintPath,
      ...(objectId === null ? {} : { [HookEnvironment.objectId]: objectId }),
    }
    await this.#succeed(HookEvent.missingData, [dataPath], env)
  }

  async segmentDeleted({ dataPath, objectId }: SegmentDeleted): Promise<void> {
    using _turn = await this.#deletes.acquire()
    using _permit = await this.#stores.acquire()
    await this.#succeed(HookEvent.segmentDeleted, [dataPath, objectId], { [HookEnvironment.objectId]: objectId })
  }

  async event(name: string, args: readonly string[]): Promise<number> {
    using _permit = await this.#events.acquire()
    return await this.#attempt(name, args)
  }

  runs(): readonly HookRun[] {
    this.#forgetOld()
    return this.#runs
  }

  /** Ends the hook-runner and all that it runs; what is asked for afterwards fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true
    // Its failure is heard by who asked for it.
    await this.#restart?.catch(() => undefined)
    await this.#runner[Symbol.asyncDispose]()
  }

  /** @returns the exit code; a failure is logged here */
  async #attempt(name: string, args: readonly string[]): Promise<number> {
    try {
      await this.#succeed(name, args, {})
      return 0
    } catch (error) {
      if (!(error instanceof HookFailed)) throw error
      this.#log.warn('hook.failed', { hook: name, reason: error.message })
      return error instanceof HookExited ? error.exitCode : 1
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
    if (this.#runner !== fresh) this.#log.error('hook_runner.restarted')
    this.#runner = fresh
    return fresh
  }

  /** Runs one hook to its end. @returns its stdout. @throws HookFailed unless it exits 0 */
  async #succeed(event: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
    const runner = await this.#liveRunner()
    const { path, instanceId, timeoutMs, storSocket } = this.#options
    const id = ++this.#lastId
    const run: Running = { event, args, pid: 0, startSeconds: this.#nowSeconds(), endSeconds: 0, exitCode: 0 }
    this.#forgetOld()
    this.#runs.push(run)
    const fullEnv = storSocket === undefined ? env : { ...env, [HookEnvironment.storSocket]: storSocket }
    const startMs = this.#clock.monotonicMs()
    try {
      const request = { id, path, args: [event, instanceId, ...args], env: fullEnv, timeoutMs }
      const ended = await runner.run(request, pid => {
        run.pid = pid
      })
      run.exitCode = ended.exitCode ?? 1
      this.#log.debug('hook.ended', {
        hook: event,
        args,
        exitCode: run.exitCode,
        durationMs: Math.round(this.#clock.monotonicMs() - startMs),
      })
      if (ended.exitCode === 0) return ended.stdout
      const what = ended.failure ?? `exited with ${ended.exitCode}`
      throw new HookExited(`${event} ${what}${ended.lastError === '' ? '' : `: ${ended.lastError}`}`, run.exitCode)
    } finally {
      run.endSeconds = this.#nowSeconds()
    }
  }

  #forgetOld(): void {
    const oldest = this.#nowSeconds() - shownSeconds
    const isOver = ({ endSeconds }: Running) => endSeconds > 0 && (endSeconds < oldest || this.#runs.length > shownMax)
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

/** A hook that ran and did not exit 0; 1 when a signal or a timeout ended it, or it could not be run. */
class HookExited extends HookFailed {
  readonly exitCode: number
  constructor(message: string, exitCode: number) {
    super(message)
    this.exitCode = exitCode
  }
}
