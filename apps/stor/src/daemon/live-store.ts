import { delay } from '@qsfs/concurrency/clock'
import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { ConfigError } from '@qsfs/config/load'
import type { ControlHandler } from '@qsfs/daemon/control'
import type { ReloadResult } from '@qsfs/protocol/stor-control'
import type { StorConfig } from '../config.ts'
import { StorError } from '../errors.ts'
import type { ObjectStore } from '../object-store.ts'
import { Runtime, type RuntimeTools } from '../runtime.ts'
import { compareConfigs } from './config-change.ts'
import { changedFiles, type NamedFiles, readNamedFiles } from './named-files.ts'

/** Requests under way get so long to end before the config changes; longer ones are begun anew with the new one. */
const DRAIN_MS = 5000
const DRAIN_STEP_MS = 20

/** Verbs that write records by themselves, not as one of the store's jobs, which end with it. */
const WRITERS: ReadonlySet<string> = new Set(['check', 'delete', 'rebuild', 'recover', 'rotate-key'])

export interface LiveStoreOptions {
  /** Reads the config anew. @throws ConfigError */
  readonly load: () => StorConfig
  /** The verbs of one runtime. */
  readonly handlersOf: (runtime: Runtime) => Readonly<Record<string, ControlHandler>>
  readonly tools: RuntimeTools
}

/** The daemon's store under the config of now. A reload puts another runtime in its place: never two at a time, for there
 *  is one writer of records. */
export class LiveStore implements AsyncDisposable {
  readonly #options: LiveStoreOptions
  #config: StorConfig
  #files: NamedFiles
  #runtime: Runtime
  #handlers: Readonly<Record<string, ControlHandler>>
  #switching: Promise<void> = Promise.resolve()
  #isStopped = false
  readonly #reloads = new KeyedMutex<'reload'>()
  /** Requests that may be writing records. */
  readonly #writing = new Set<Promise<unknown>>()

  /** Connects nothing yet. */
  constructor(config: StorConfig, options: LiveStoreOptions) {
    this.#options = options
    this.#config = config
    this.#files = readNamedFiles(config)
    this.#runtime = new Runtime(config, options.tools)
    this.#handlers = options.handlersOf(this.#runtime)
  }

  /** @throws StorError for an obstacle that does not pass by itself */
  async start(): Promise<void> {
    await this.#runtime.start()
  }

  get runtime(): Runtime {
    return this.#runtime
  }

  /** For jobs: the open store of now, waited for a while. */
  async objects(signal: AbortSignal | undefined): Promise<ObjectStore> {
    await this.#switching
    return (await this.#runtime.store(signal)).objects
  }

  /** The verbs, each answered by the runtime of now. What a reload ended is done again. */
  get handlers(): Readonly<Record<string, ControlHandler>> {
    const verbs = Object.keys(this.#handlers).map((verb): [string, ControlHandler] => [
      verb,
      async (params, context) => {
        // Status is there to say how it is, also while it changes.
        if (verb !== 'status') await this.#switching
        const asked = this.#runtime
        try {
          return await this.#answer(verb, params, context)
        } catch (error) {
          await this.#switching
          const isOver = asked === this.#runtime || this.#isStopped || context.signal.aborted
          if (isOver || !(error instanceof StorError && error.retryable)) throw error
          return await this.#answer(verb, params, context)
        }
      },
    ])
    return { ...Object.fromEntries(verbs), reload: () => this.reload() }
  }

  /** Reads the config again and works by it, or goes on as before.
   *  @throws StorError 'refused' and why; another error when not even the old config works any more */
  async reload(): Promise<ReloadResult> {
    return await this.#reloads.run('reload', async () => {
      const { config, changed: settings, needsRestart, refusal } = compareConfigs(this.#config, this.#load())
      if (refusal !== null) throw new StorError('refused', `the config is not taken: ${refusal}`)
      const files = readNamedFiles(config)
      const changed = [...settings, ...changedFiles(this.#files, files)]
      if (changed.length > 0) await this.#switchTo(config)
      this.#files = files
      this.#options.tools.log.event('config.reloaded', { changed, needsRestart })
      return { changed, needsRestart }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true
    await this.#switching
    await this.#runtime[Symbol.asyncDispose]()
  }

  async #answer(verb: string, ...[params, context]: Parameters<ControlHandler>): Promise<unknown> {
    const answer = Promise.resolve(this.#handlers[verb]!(params, context))
    if (!WRITERS.has(verb)) return await answer
    this.#writing.add(answer)
    try {
      return await answer
    } finally {
      this.#writing.delete(answer)
    }
  }

  #load(): StorConfig {
    try {
      return this.#options.load()
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      throw new StorError('refused', `the config is not taken: ${error.message}`, { cause: error })
    }
  }

  async #switchTo(config: StorConfig): Promise<void> {
    const next = this.#build(config)
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#switching = promise
    try {
      await this.#drain()
      await this.#runtime[Symbol.asyncDispose]()
      await Promise.allSettled(this.#writing)
      await this.#begin(next, config)
    } finally {
      resolve()
    }
  }

  /** @throws StorError 'refused'; the old config is in use again then */
  async #begin(next: Runtime, config: StorConfig): Promise<void> {
    try {
      await next.start()
      await next.store()
      this.#take(next, config)
    } catch (error) {
      await next[Symbol.asyncDispose]()
      const old = this.#build(this.#config)
      this.#take(old, this.#config)
      await old.start()
      if (!(error instanceof StorError)) throw error
      const text = `the config is not taken, the store does not open with it: ${error.message}`
      throw new StorError('refused', text, { cause: error })
    }
  }

  #take(runtime: Runtime, config: StorConfig): void {
    this.#runtime = runtime
    this.#config = config
    this.#handlers = this.#options.handlersOf(runtime)
  }

  /** @throws StorError 'refused' for what a config is only found wrong for when its backends are built */
  #build(config: StorConfig): Runtime {
    const { tools } = this.#options
    // What came from stdin cannot be read twice.
    const isSame = JSON.stringify(config.master) === JSON.stringify(this.#config.master)
    try {
      return new Runtime(config, isSame ? { ...tools, master: this.#runtime.master } : tools)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      throw new StorError('refused', `the config is not taken: ${error.message}`, { cause: error })
    }
  }

  async #drain(): Promise<void> {
    const { clock } = this.#options.tools
    for (let waitedMs = 0; waitedMs < DRAIN_MS; waitedMs += DRAIN_STEP_MS) {
      const running = this.#runtime.now.open?.objects.running
      if (running === undefined || running.stores + running.retrieves === 0) return
      await delay(clock, DRAIN_STEP_MS)
    }
  }
}
