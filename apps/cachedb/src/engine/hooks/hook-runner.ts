import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { HookReport, HookRequest } from './hook-protocol.ts'

/** The program that runs hooks: a small process starts others in 1.5 ms, one that holds gigabytes of keydir in 70. Ends, with all it
 *  started, when its stdin does: cachedb is gone then. */

const stdoutKeptBytes = 64 * 1024
const stderrKeptBytes = 2 * 1024
/** What a hook left in the background may hold its pipes open for ever; only what was printed before it ended counts. */
const drainMs = 100

const running = new Map<number, ChildProcess>()

process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)
report({ type: 'ready' })
createInterface({ input: process.stdin })
  .on('line', line => run(JSON.parse(line) as HookRequest))
  .on('close', () => {
    for (const child of running.values()) killGroup(child)
    process.exit(0)
  })

function run({ id, path, args, env, timeoutMs }: HookRequest): void {
  const output = { stdout: '', stderr: '' }
  let failure: string | null = null
  // A process group of its own, so that a timeout ends its children too.
  const child = spawn(path, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  child.stdout.setEncoding('utf8').on('data', text => {
    output.stdout = (output.stdout + text).slice(-stdoutKeptBytes)
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    process.stderr.write(text)
    output.stderr = (output.stderr + text).slice(-stderrKeptBytes)
  })
  const timer = setTimeout(() => {
    failure = `did not end within ${timeoutMs} ms`
    killGroup(child)
  }, timeoutMs)
  let reported = false
  const end = (exitCode: number | null) => {
    if (reported) return
    reported = true
    clearTimeout(timer)
    running.delete(id)
    child.stdout.destroy()
    child.stderr.destroy()
    const lastError = output.stderr.trimEnd().split('\n').at(-1) ?? ''
    report({
      type: 'ended',
      id,
      exitCode: failure === null ? exitCode : null,
      failure,
      stdout: output.stdout,
      lastError,
    })
  }
  child.on('error', error => {
    failure = error.message
    end(null)
  })
  child.on('exit', (exitCode, signal) => {
    if (signal !== null) failure ??= `was killed by ${signal}`
    setTimeout(() => end(exitCode), drainMs)
  })
  child.on('close', exitCode => end(exitCode))
  if (child.pid === undefined) return
  running.set(id, child)
  report({ type: 'started', id, pid: child.pid })
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // It ended by itself a moment ago.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function report(message: HookReport): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
