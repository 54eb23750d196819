import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { HookReport, HookRequest } from './hook-protocol.ts'
import { HookFailed } from './hooks.ts'

type Ended = Extract<HookReport, { type: 'ended' }>

interface Pending {
  readonly onStarted: (pid: number) => void
  readonly resolve: (ended: Ended) => void
  readonly reject: (error: HookFailed) => void
}

/** One hook-runner, as seen from cachedb. When it dies, what it ran has failed. */
export class HookRunnerProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #pending = new Map<number, Pending>()
  readonly #gone: Promise<unknown>
  #isGone = false

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#gone = once(child, 'exit')
    void this.#gone.then(() => {
      this.#isGone = true
      for (const { reject } of this.#pending.values()) reject(new HookFailed('the hook runner ended'))
      this.#pending.clear()
    })
    // Writing to one that has just died; `exit` tells those who wait.
    child.stdin!.on('error', () => undefined)
    createInterface({ input: child.stdout! }).on('line', line => this.#heard(JSON.parse(line) as HookReport))
  }

  /** @throws HookFailed when the machine starts no more processes */
  static async start(): Promise<HookRunnerProcess> {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'hook-runner.ts')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    try {
      await once(child, 'spawn')
    } catch (error) {
      throw new HookFailed(`the hook runner cannot be started: ${(error as Error).message}`, error)
    }
    return new HookRunnerProcess(child)
  }

  get isGone(): boolean {
    return this.#isGone
  }

  /** @throws HookFailed when the runner ends first */
  run(request: HookRequest, onStarted: (pid: number) => void): Promise<Ended> {
    return new Promise((resolve, reject) => {
      if (this.#isGone) return reject(new HookFailed('the hook runner ended'))
      this.#pending.set(request.id, { onStarted, resolve, reject })
      this.#child.stdin!.write(`${JSON.stringify(request)}\n`)
    })
  }

  /** Ends it and the hooks it runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin!.end()
    await this.#gone
  }

  #heard(report: HookReport): void {
    if (report.type === 'ready') return
    const pending = this.#pending.get(report.id)
    if (report.type === 'started') {
      pending?.onStarted(report.pid)
      return
    }
    this.#pending.delete(report.id)
    pending?.resolve(report)
  }
}
