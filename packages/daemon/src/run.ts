import { typedArguments } from '@qsfs/config/caller'
import { createLog, type Log, type LogLevel, logLevels } from '@qsfs/telemetry/log'
import { type ExitCode, ExpectedFailure, expectedEnd } from './failure.ts'

export { ExpectedFailure }

/** What a daemon's main is handed. */
export interface DaemonContext {
  /** Aborted by SIGTERM, SIGINT, `stop`, or the end of stdin when supervised. */
  readonly signal: AbortSignal
  /** Disposed in reverse order when the daemon ends, however it ends. */
  readonly stack: AsyncDisposableStack
  readonly log: Log
  /** What was typed, without `--supervised` and a leading `--`. */
  readonly argv: readonly string[]
  /** Ends the daemon as a signal would; with an error it ends as if main had thrown it. */
  readonly stop: (error?: unknown) => void
}

export interface DaemonOptions {
  /** Where events go; JSON lines on stderr unless told. */
  readonly log?: Log
  /** A file for them instead of stderr. */
  readonly logFile?: string
  /** More of them than QSFS_LOG_LEVEL says. */
  readonly debug?: boolean
}

/** Runs a daemon: `main` sets it up and returns, then it serves until it is told to stop, then `stack` is disposed.
 *  Never returns: the process exits with 0, or, after one sentence on stderr, with the code of the failure.
 *  With `--supervised` it also stops when stdin closes, so that it never outlives the process that started it. */
export async function runDaemon(
  name: string,
  main: (context: DaemonContext) => Promise<void>,
  { debug = false, logFile, log = openLog(name, debug, logFile) }: DaemonOptions = {},
): Promise<never> {
  const argv = typedArguments()
  const isSupervised = argv.includes('--supervised')
  const stopping = new AbortController()
  const failures: unknown[] = []
  const stop = (error?: unknown) => {
    if (error !== undefined) failures.push(error)
    stopping.abort()
  }
  onStopSignals(log, stop)
  if (isSupervised) onStdinEnd(stop)

  const stack = new AsyncDisposableStack()
  try {
    await main({ signal: stopping.signal, stack, log, argv: argv.filter(word => word !== '--supervised'), stop })
    await aborted(stopping.signal)
    log.event('daemon.stopping')
  } catch (error) {
    failures.push(error)
  }
  // Whatever still runs learns that it is over, also when main threw.
  stopping.abort()
  try {
    await stack.disposeAsync()
  } catch (error) {
    failures.push(error)
  }
  process.exit(report(name, log, failures))
}

/** Says every failure once; the first one decides the exit code. */
function report(name: string, log: Log, failures: readonly unknown[]): 0 | ExitCode {
  const codes = failures.map(error => {
    const end = expectedEnd(error)
    if (end === null) log.error('daemon.failed', { error })
    process.stderr.write(`${name}: ${end?.sentence ?? String(error)}\n`)
    return end?.exitCode ?? 1
  })
  return codes[0] ?? 0
}

function onStopSignals(log: Log, stop: () => void): void {
  let count = 0
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      // The third one means it: somebody does not want to wait for what hangs.
      if (++count >= 3) process.exit(1)
      log.event('daemon.signalled', { signal: name })
      stop()
    })
  }
}

function onStdinEnd(stop: () => void): void {
  for (const event of ['end', 'close', 'error']) process.stdin.once(event, () => stop())
  process.stdin.resume()
}

function openLog(name: string, debug: boolean, logFile: string | undefined): Log {
  const level = debug ? 'debug' : levelFromEnvironment()
  if (logFile === undefined) return createLog({ name, level })
  try {
    return createLog({ name, level, logFile })
  } catch (error) {
    process.stderr.write(`${name}: the log file ${logFile} cannot be opened: ${(error as Error).message}\n`)
    return process.exit(2)
  }
}

function levelFromEnvironment(): LogLevel {
  const level = process.env.QSFS_LOG_LEVEL ?? 'info'
  if ((logLevels as readonly string[]).includes(level)) return level as LogLevel
  process.stderr.write(`QSFS_LOG_LEVEL is one of ${logLevels.join(', ')}, not ${level}\n`)
  return process.exit(2)
}

/** Keeps the process alive until the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  const alive = setInterval(() => undefined, 2 ** 30)
  return new Promise(resolve => {
    const end = () => {
      clearInterval(alive)
      resolve()
    }
    signal.addEventListener('abort', end, { once: true })
  })
}
