import { type ChildProcess, type ChildProcessWithoutNullStreams, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** How long `stop` and disposal wait after SIGTERM before SIGKILL. */
  readonly stopWithinMs?: number
  /** Descriptors it inherits, from 3 on. */
  readonly descriptors?: readonly number[]
}

/** A child process of a test. Dispose it: it is stopped, by SIGKILL if it must be. */
export interface SpawnedProcess extends AsyncDisposable {
  readonly pid: number
  /** Everything it wrote so far. */
  readonly stdout: string
  readonly stderr: string
  /** The exit code, or the signal's name. */
  readonly exited: Promise<number | string>
  /** Resolves with the match when stdout or stderr has a line that matches; rejects when the process ends without. */
  waitForLine(pattern: RegExp): Promise<RegExpExecArray>
  /** SIGKILL, and waits until it is gone. */
  kill9(): Promise<void>
  /** SIGTERM, and waits for the exit code. */
  stop(): Promise<number | string>
  closeStdin(): void
  /** Into its stdin. */
  write(text: string): void
}

/** Starts a program with the environment of the tests plus `env`. Its stdin stays open until `closeStdin` or the end. */
export function spawnProcess(command: string, args: readonly string[], options: SpawnOptions = {}): SpawnedProcess {
  const { env = {}, cwd, stopWithinMs = 10_000, descriptors = [] } = options
  const stdio: StdioOptions = ['pipe', 'pipe', 'pipe', ...descriptors]
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio }) as ChildProcessWithoutNullStreams
  const output = { stdout: '', stderr: '' }
  const watchers = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', text => {
      output[name] += text
      for (const watch of watchers) watch()
    })
  }
  // A child that is gone before it read all of stdin is no failure of the test.
  child.stdin.on('error', () => undefined)
  const exited = exitOf(child)

  const stop = async (): Promise<number | string> => {
    child.kill('SIGTERM')
    const killer = setTimeout(() => child.kill('SIGKILL'), stopWithinMs)
    try {
      return await exited
    } finally {
      clearTimeout(killer)
    }
  }

  return {
    pid: child.pid ?? -1,
    get stdout() {
      return output.stdout
    },
    get stderr() {
      return output.stderr
    },
    exited,
    async waitForLine(pattern) {
      const find = () => firstMatch(pattern, `${output.stdout}\n${output.stderr}`)
      const found = Promise.withResolvers<RegExpExecArray>()
      const watch = () => {
        const match = find()
        if (match !== null) found.resolve(match)
      }
      watchers.add(watch)
      watch()
      const ended = exited.then(code => {
        const match = find()
        if (match !== null) return match
        throw new Error(
          `${command} ended with ${code} before a line matched ${pattern}:\n${output.stdout}${output.stderr}`,
        )
      })
      try {
        return await Promise.race([found.promise, ended])
      } finally {
        watchers.delete(watch)
      }
    },
    async kill9() {
      child.kill('SIGKILL')
      await exited
    },
    stop,
    closeStdin: () => void child.stdin.end(),
    write: text => void child.stdin.write(text),
    [Symbol.asyncDispose]: async () => void (await stop()),
  }
}

/** `close`, not `exit`: all output has been read by then. */
async function exitOf(child: ChildProcess): Promise<number | string> {
  const failed = once(child, 'error').then(([error]) => String(error))
  const closed = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string)
  return Promise.race([closed, failed])
}

function firstMatch(pattern: RegExp, text: string): RegExpExecArray | null {
  const perLine = new RegExp(pattern.source, pattern.flags.replace('g', ''))
  for (const line of text.split('\n')) {
    const match = perLine.exec(line)
    if (match !== null) return match
  }
  return null
}
