import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { HookEnd, HookOrder, HookReport, HookRequest } from './hook-protocol.ts'
import { HookFailed } from './hooks.ts'

interface Pending {
  readonly onStarted: (pid: number) => void
  readonly resolve: (end: HookEnd) => void
  readonly reject: (error: HookFailed) => void
}

/** One hook-runner, as seen from cachedb. When it dies, what it ran has failed. */
export class HookRunnerProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #pending = new Map<number, Pending>()
  readonly #gone: Promise<unknown>
  readonly #parted = Promise.withResolvers<void>()
  #isGone = false

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#gone = once(child, 'exit')
    void this.#gone.then(() => {
      this.#isGone = true
      this.#failPending('the hook runner ended')
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
  run(request: HookRequest, onStarted: (pid: number) => void): Promise<HookEnd> {
    return new Promise((resolve, reject) => {
      if (this.#isGone) return reject(new HookFailed('the hook runner ended'))
      this.#pending.set(request.id, { onStarted, resolve, reject })
      this.#order({ type: 'run', request })
    })
  }

  /** Has this run when cachedb ends in any other way than by disposing of the runner. */
  onCrash(request: HookRequest): void {
    this.#order({ type: 'on-crash', request })
  }

  /** Kills the hooks it runs, but for those that may outlive cachedb: with them it ends by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#order({ type: 'bye' })
    await Promise.race([this.#parted.promise, this.#gone])
    this.#child.stdin!.end()
    this.#child.unref()
    this.#isGone = true
    this.#failPending('the server ends')
  }

  #order(order: HookOrder): void {
    this.#child.stdin!.write(`${JSON.stringify(order)}\n`)
  }

  #heard(report: HookReport): void {
    if (report.type === 'parted') {
      this.#parted.resolve()
      return
    }
    const pending = this.#pending.get(report.id)
    if (report.type === 'started') {
      pending?.onStarted(report.pid)
      return
    }
    this.#pending.delete(report.id)
    pending?.resolve(report.end)
  }

  #failPending(reason: string): void {
    for (const { reject } of this.#pending.values()) reject(new HookFailed(reason))
    this.#pending.clear()
  }
}
