import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { MiB } from '@qsfs/bytes/units'
import { Backoff } from '@qsfs/concurrency/backoff'
import { type Clock, delay, type RandomSource } from '@qsfs/concurrency/clock'
import { ExpectedFailure, leftToNext } from '@qsfs/daemon/failure'
import type { Log } from '@qsfs/telemetry/log'
import { moveToBackground } from './background.ts'

/** A log longer than this is set aside (one generation) at the next start of its daemon. */
const logBytesMax = 16 * MiB
/** How much of its last words is read when a daemon dies. */
const lastWordsBytes = 16 * 1024
/** A daemon that ran so long was healthy: its next restart is quick again. */
const healthyMs = 60_000

export interface ChildSpec {
  readonly name: string
  /** What its sentences on stderr begin with. */
  readonly app: string
  /** The program and its arguments, for the Node that runs us. */
  readonly argv: readonly string[]
  readonly logPath: string
  readonly environment: NodeJS.ProcessEnv
  /** Nobody waits for it while there is other work. */
  readonly background: boolean
  /** Whether it can be used yet. */
  readonly isReady: () => Promise<boolean>
  /** Its last sentence as the user should read it. */
  readonly rephrase: (sentence: string) => string
  /** Descriptors it inherits, from 3 on; asked for before each start. `endedWell`: the one before did so by itself. */
  readonly descriptors?: (before: { readonly endedWell: boolean }) => Promise<readonly number[]>
}

/** A daemon kept running: started, watched, started again when it dies, stopped. It leaves by itself when this process
 *  is gone, because its stdin closes then. */
export class ChildDaemon {
  readonly spec: ChildSpec
  readonly #clock: Clock
  readonly #log: Log
  readonly #backoff: Backoff
  readonly #onChange: () => void
  readonly #stopping = new AbortController()
  #child: ChildProcess | null = null
  #exited: Promise<Exit> = Promise.resolve({ code: 0, signal: null })
  #lastExit: Exit | null = null
  #watching: Promise<void> = Promise.resolve()
  #restartCount = 0
  #logStartBytes = 0

  constructor(spec: ChildSpec, clock: Clock, random: RandomSource, log: Log, onChange: () => void) {
    this.spec = spec
    this.#clock = clock
    this.#log = log.child({ daemon: spec.name })
    this.#backoff = new Backoff({ firstMs: 200, maxMs: 10_000, random })
    this.#onChange = onChange
  }

  /** null while it is down. */
  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  get restartCount(): number {
    return this.#restartCount
  }

  /** Starts it and waits until it is ready; `keepRunning` watches it from then on.
   *  @throws ExpectedFailure with its own sentence when it ends before; the signal's reason, having stopped it */
  async start(signal: AbortSignal): Promise<void> {
    await this.#spawn()
    const exit = await this.#untilReady(signal)
    if (exit !== null) throw this.#failure(exit)
  }

  /** The event it logged last, to be told to who waits for it; null: none yet. */
  lastEvent(): string | null {
    const lines = lastWords(this.spec.logPath, this.#logStartBytes).split('\n')
    return lines.map(eventOf).findLast(event => event !== null) ?? null
  }

  /** Starts it again whenever it dies, until `stop`. */
  keepRunning(): void {
    this.#watching = this.#watch()
  }

  /** Why it is not running, if it was started and died. */
  get death(): ExpectedFailure | null {
    return this.#lastExit === null ? null : this.#failure(this.#lastExit)
  }

  /** SIGTERM, and SIGKILL when it is still there after `withinMs`.
   *  @returns whether it ended by itself with exit code 0 */
  async stop(withinMs: number): Promise<boolean> {
    this.#stopping.abort()
    this.#child?.kill('SIGTERM')
    const cancelKill = this.#clock.schedule(withinMs, () => {
      this.#log.warn('daemon.killed', { withinMs })
      this.#child?.kill('SIGKILL')
    })
    const { code } = await this.#exited
    cancelKill()
    await this.#watching
    return code === 0
  }

  async #spawn(): Promise<void> {
    const { argv, environment, logPath, background } = this.spec
    const inherited = (await this.spec.descriptors?.({ endedWell: this.#lastExit?.code === 0 })) ?? []
    if (this.#stopping.signal.aborted) return
    const logFd = openLog(logPath)
    this.#logStartBytes = fstatSync(logFd).size
    try {
      // Detached: Ctrl-C reaches the whole foreground group, and the order of stopping is ours to keep.
      const stdio = ['pipe' as const, logFd, logFd, ...inherited]
      const child = spawn(process.execPath, argv, { detached: true, env: environment, stdio })
      child.stdin?.on('error', error => this.#log.debug('daemon.stdin_closed', { error }))
      if (background && child.pid !== undefined) moveToBackground(child.pid, this.#log)
      this.#child = child
      this.#lastExit = null
      this.#exited = exitOf(child).then(exit => {
        this.#lastExit = exit
        this.#child = null
        this.#onChange()
        return exit
      })
      this.#onChange()
    } finally {
      closeSync(logFd)
    }
  }

  /** @returns null when it is ready, else how it ended */
  async #untilReady(signal: AbortSignal): Promise<Exit | null> {
    for (;;) {
      signal.throwIfAborted()
      if (this.#lastExit !== null) return this.#lastExit
      if (await this.spec.isReady()) return null
      await delay(this.#clock, 50, { signal })
    }
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const startedMs = this.#clock.monotonicMs()
      const exit = await this.#exited
      if (signal.aborted) return
      if (exit.code === leftToNext) {
        this.#log.event('daemon.exchanged')
        await this.#startNext()
        continue
      }
      // Nobody dies of SIGKILL by an own mistake, and people wait.
      const wasHealthy = this.#clock.monotonicMs() - startedMs > healthyMs || exit.signal === 'SIGKILL'
      if (wasHealthy) this.#backoff.reset()
      const pauseMs = this.#backoff.next()
      this.#log.warn('daemon.died', { reason: this.#failure(exit).message, restartsInMs: Math.round(pauseMs) })
      await delay(this.#clock, pauseMs, { signal }).catch(() => undefined)
      if (signal.aborted) return
      this.#restartCount++
      await this.#startNext()
    }
  }

  async #startNext(): Promise<void> {
    try {
      await this.#spawn()
    } catch (error) {
      this.#log.error('daemon.not_started', { error })
      this.#exited = Promise.resolve({ code: 1, signal: null })
    }
  }

  /** Its own sentence if it said one. */
  #failure({ code, signal }: Exit): ExpectedFailure {
    const { name, app, logPath, rephrase } = this.spec
    const said = lastWords(logPath, this.#logStartBytes)
      .split('\n')
      .find(line => line.startsWith(`${app}: `))
    const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`
    const sentence = said === undefined ? `${name} ${how}; ${logPath} may say why` : rephrase(said.replace(app, name))
    return new ExpectedFailure(code === 2 ? 2 : 1, sentence)
  }
}

type LogLine = Readonly<Record<string, unknown>> & { readonly error?: { readonly message: string } }

interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise(resolve => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.once('error', () => resolve({ code: 1, signal: null }))
  })
}

function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true })
  const sizeBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (sizeBytes > logBytesMax) renameSync(path, `${path}.1`)
  return openSync(path, 'a', 0o600)
}

/** The name of the event that a line of a log tells, and its fields; null: it is no whole event. */
function eventOf(line: string): string | null {
  try {
    const { level, time, pid, name, event, error, ...fields } = JSON.parse(line) as LogLine
    const why = error === undefined ? '' : `: ${error.message}`
    return typeof event === 'string' ? `${event} ${JSON.stringify(fields)}${why}` : null
  } catch {
    return null
  }
}

function lastWords(path: string, fromBytes: number): string {
  const fd = openSync(path, 'r')
  try {
    const words = Buffer.alloc(lastWordsBytes)
    const startBytes = Math.max(fromBytes, fstatSync(fd).size - words.length)
    return words.toString('utf8', 0, readSync(fd, words, 0, words.length, startBytes))
  } finally {
    closeSync(fd)
  }
}
