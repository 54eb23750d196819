import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { Clock } from '@qsfs/concurrency/clock'
import { storedLine } from '@qsfs/protocol/hook-events'
import type { OutputPipe } from './hook-pipes.ts'
import type { HookEnd, HookRequest, HookResult } from './hook-protocol.ts'

/** What a hook left in the background may hold its pipes open for ever; only what was printed before it ended counts. */
const drainMs = 100
/** A process that a signal cannot reach, in the middle of a system call, is given up this long after SIGKILL. */
const killGraceMs = 5_000
/** A line longer than this is no `stored <object id>`. */
const lineCharsMax = 4_096
/** So much of a run's stderr goes into the log; the rest is dropped. */
const stderrShownChars = 16 * 1024
const lastErrorChars = 2 * 1024

export interface HookTools {
  readonly clock: Clock
  /** A pipe for one output of a hook; null: none to be had. */
  readonly openPipe: () => OutputPipe | null
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Ends a process group by SIGKILL; says nothing when that cannot be done. */
  readonly kill: (groupId: number) => void
  /** Where stderr of hooks goes. */
  readonly say: (text: string) => void
}

/** One run of a hook, in a process group of its own, so that its end can be the end of its children. */
export class HookProcess {
  readonly ended: Promise<HookEnd>
  readonly pid: number | undefined
  readonly #request: HookRequest
  readonly #tools: HookTools
  readonly #resolve: (end: HookEnd) => void
  #lastError = ''
  #objectId: string | null = null
  #isLate = false

  constructor(request: HookRequest, tools: HookTools) {
    this.#request = request
    this.#tools = tools
    const { promise, resolve } = Promise.withResolvers<HookEnd>()
    this.ended = promise
    this.#resolve = resolve
    const [out, err] = [tools.openPipe(), tools.openPipe()]
    const child = this.#spawn(out, err)
    this.pid = child?.pid
    // Without a pid there was no process, and nothing else is heard of it.
    if (child?.pid === undefined) {
      out?.reader.destroy()
      err?.reader.destroy()
      return
    }
    const outputs = [out?.reader ?? child.stdout!, err?.reader ?? child.stderr!] as const
    this.#hear(...outputs)
    const cancel = tools.clock.schedule(request.timeoutMs, () => this.#tooLate())
    child.once('exit', (exitCode, signal) => {
      cancel()
      const finish = () => this.#exited(exitCode, signal)
      void Promise.all(outputs.map(closed)).then(finish)
      tools.clock.schedule(drainMs, finish)
    })
  }

  kill(): void {
    if (this.pid !== undefined) this.#tools.kill(this.pid)
  }

  #spawn(out: OutputPipe | null, err: OutputPipe | null): ChildProcess | null {
    using _out = out
    using _err = err
    const { path, args, env } = this.#request
    try {
      const child = spawn(path, args, {
        env: { ...this.#tools.environment, ...env },
        stdio: ['ignore', out?.writeFd ?? 'pipe', err?.writeFd ?? 'pipe'],
        detached: true,
      })
      return child.once('error', error => this.#end('not_run', null, error.message))
    } catch (error) {
      // An argument that no program can be given.
      this.#end('not_run', null, (error as Error).message)
      return null
    }
  }

  /** Its pipes are read for as long as somebody writes to them: what a hook left in the background must not die of its own words. */
  #hear(stdout: Readable, stderr: Readable): void {
    onLines(stdout, line => {
      this.#objectId ??= storedLine.exec(line)?.[1] ?? null
    })
    // Who cannot be read from any more has said enough.
    for (const output of [stdout, stderr]) output.on('error', () => undefined)
    let shownChars = 0
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#lastError = (this.#lastError + text).slice(-lastErrorChars)
      if (shownChars >= stderrShownChars) return
      shownChars += text.length
      this.#tools.say(
        shownChars < stderrShownChars ? text : `${text.slice(0, stderrShownChars)}\n(the rest is dropped)\n`,
      )
    })
  }

  #tooLate(): void {
    this.#isLate = true
    this.kill()
    this.#tools.clock.schedule(killGraceMs, () =>
      this.#end('timeout', null, `${this.#lateness}, nor ${killGraceMs} ms after SIGKILL`),
    )
  }

  #exited(exitCode: number | null, signal: NodeJS.Signals | null): void {
    if (this.#isLate) this.#end('timeout', null, this.#lateness)
    else if (signal !== null) this.#end('killed', null, `was killed by ${signal}`)
    else if (exitCode === 0) this.#end('ok', 0, '')
    else this.#end('failed', exitCode, `exited with ${exitCode}`)
  }

  get #lateness(): string {
    return `did not end within ${this.#request.timeoutMs} ms`
  }

  #end(result: HookResult, exitCode: number | null, why: string): void {
    const lastLine = result === 'ok' ? '' : (this.#lastError.trimEnd().split('\n').at(-1) ?? '')
    const reason = lastLine === '' ? why : `${why}: ${lastLine}`
    this.#resolve({ result, exitCode, reason, objectId: this.#objectId })
  }
}

/** Lines as they come, in bounded memory: what is too long for one is dropped. */
function onLines(stream: Readable, heard: (line: string) => void): void {
  let begun = ''
  stream.setEncoding('utf8').on('data', (text: string) => {
    const lines = (begun + text).split('\n')
    begun = lines.pop()!.slice(0, lineCharsMax)
    for (const line of lines) heard(line)
  })
  stream.on('end', () => heard(begun))
}

async function closed(stream: Readable): Promise<void> {
  if (!stream.closed) await once(stream, 'close')
}
