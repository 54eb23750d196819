// The hook path from GET to first byte runs through this file: what only asks the daemon imports next to nothing.
import type { QueuedResult, RecoverProgress, StoreResult, TransferProgress } from '@qsfs/protocol/stor-control'
import { type Common, parseCommand, usage } from './commands/arguments.ts'
import { STDOUT, type VerbName, WrongUsage } from './commands/verbs.ts'
import type { StoreHere } from './in-process.ts'

/** Where zstor looks when nothing is said. */
const ZSTOR_CONFIG = 'zstor_config.toml'

/** Codes of failures that the same command may not meet later. */
const AGAIN_LATER: ReadonlySet<string> = new Set(['unavailable', 'full', 'too-few-shards', 'aborted', 'unreachable'])

type Params = Readonly<Record<string, unknown>>
type OnProgress = (progress: TransferProgress | RecoverProgress) => void

async function main(typed: readonly string[]): Promise<number> {
  let isJson = typed.includes('--json')
  try {
    const command = parseCommand(typed, process.env.INIT_CWD ?? process.cwd())
    if (command.verb === 'monitor') return await monitor(command.words)
    if (command.verb === 'help') {
      process.stdout.write(`${usage()}\n`)
      return 0
    }
    isJson = command.common.json === true
    await using store = new Asker(command.common)
    const onProgress = command.flags.progress === true ? await openProgress() : null
    using _ = { [Symbol.dispose]: () => onProgress?.stop() }
    if (command.verb === 'store') return await runStore(store, command.params, command.flags, onProgress)
    if (command.verb === 'retrieve' && command.params.file === STDOUT) {
      if (isJson) throw new WrongUsage('retrieve: -f - leaves no place for the answer of --json')
      const { retrieveToOutput } = await import('./commands/retrieve-to-output.ts')
      const ask = (params: Params) => store.ask('retrieve', params, onProgress?.update)
      await retrieveToOutput(command.params, ask, process.stdout)
      return 0
    }
    const answer = await store.ask(command.verb, command.params, onProgress?.update)
    onProgress?.stop()
    return await print(command.verb, answer, isJson)
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const code = 'code' in error && typeof error.code === 'string' ? error.code : null
    const isUsage = ('exitCode' in error && error.exitCode === 2) || code === 'usage'
    if (isJson) {
      const retryable = code !== null && AGAIN_LATER.has(code)
      writeJson({ error: { code: code ?? (isUsage ? 'usage' : 'failed'), message: error.message, retryable } })
    }
    process.stderr.write(`stor: ${error.message}\n`)
    return isUsage ? 2 : 1
  }
}

async function monitor(words: readonly string[]): Promise<number> {
  process.argv.splice(2, process.argv.length, ...words)
  await import('./main.ts')
  return 0
}

/** Asks the daemon; without one, and unless told otherwise, does the work here under the store's lock. */
class Asker implements AsyncDisposable {
  readonly #common: Common
  #here: StoreHere | null = null

  constructor(common: Common) {
    this.#common = common
  }

  get isJson(): boolean {
    return this.#common.json === true
  }

  async ask(verb: string, params: Params, onProgress?: OnProgress): Promise<unknown> {
    if (this.#here !== null) return await this.#here.ask(verb, params, onProgress)
    const { daemon: mustAsk } = this.#common
    // What was typed goes before what the environment says.
    const inherited = this.#common.config === undefined ? process.env.QSFS_STOR_SOCKET || undefined : undefined
    const named = this.#common.socket ?? inherited
    const typed = this.#common.config ?? (process.env.QSFS_CONFIG || undefined)
    const configPath = typed ?? (named === undefined ? ZSTOR_CONFIG : undefined)
    if (verb === 'plan' && configPath !== undefined && !mustAsk) {
      const { planHere } = await import('./in-process.ts')
      return await planHere(configPath)
    }
    const socket = named ?? (await socketOfConfig(configPath!))
    if (socket === null && mustAsk) throw new WrongUsage('--daemon: the config names no socket')
    if (socket !== null) {
      const { askControl, ControlUnreachable } = await import('@qsfs/daemon/control')
      try {
        return await askControl(socket, verb, params, {
          onProgress: value => onProgress?.(value as TransferProgress | RecoverProgress),
        })
      } catch (error) {
        // A daemon that broke off may still be at it: only when none was there is the work ours.
        const isAbsent = error instanceof ControlUnreachable && hasNoListener(error.cause)
        if (!isAbsent || mustAsk || configPath === undefined) throw error
      }
    }
    if (verb === 'reload') throw new WrongUsage('reload: no daemon runs; the next one reads the config anyway')
    const { openHere } = await import('./in-process.ts')
    const { debug = false, log_file: logFile } = this.#common
    this.#here = await openHere(configPath!, { debug, logFile, verb })
    return await this.#here.ask(verb, params, onProgress)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#here?.[Symbol.asyncDispose]()
  }
}

async function socketOfConfig(configPath: string): Promise<string | null> {
  const { loadStorConfig } = await import('./config.ts')
  try {
    return loadStorConfig(configPath).socket
  } catch (error) {
    if (configPath === ZSTOR_CONFIG && error instanceof Error && isNoFile(error.cause)) {
      throw new WrongUsage('which store? --config FILE or --socket PATH')
    }
    throw error
  }
}

function isNoFile(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
}

function hasNoListener(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED')
}

async function openProgress() {
  if (!process.stderr.isTTY) return null
  const { openProgressBar } = await import('./progress-bar.ts')
  return openProgressBar(process.stderr)
}

/** One file; or, when that turns out to be a directory, those in it. */
async function runStore(
  store: Asker,
  params: Params,
  flags: Readonly<Record<string, unknown>>,
  progress: { readonly update: OnProgress; stop(): void } | null,
): Promise<number> {
  const ask = (one: Params) => store.ask('store', one, progress?.update) as Promise<StoreResult | QueuedResult>
  try {
    const answer = await ask(params)
    progress?.stop()
    if (store.isJson) writeJson(answer)
    else process.stdout.write(`${storedText(answer)}\n`)
    if (!('kept' in answer)) return 0
    process.stderr.write(`stor: stored, but not deleted: ${answer.kept}\n`)
    return 1
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'file')) throw error
    const { storeDirectory } = await import('./commands/store-directory.ts')
    const how = { stopAtFailure: flags['error-on-failure'] === true, isKeyed: flags['key-path'] !== undefined }
    const outcomes = await storeDirectory(params, ask, how, ({ file, answer, error }) => {
      if (answer !== null && !store.isJson) process.stdout.write(`${storedText(answer)}  ${file}\n`)
      if (error !== null) process.stderr.write(`stor: ${file}: ${error.message}\n`)
    })
    if (outcomes === null) throw error
    progress?.stop()
    if (store.isJson) writeJson({ files: outcomes })
    return outcomes.every(({ error }) => error === null) ? 0 : 1
  }
}

function storedText(answer: StoreResult | QueuedResult): string {
  return 'jobId' in answer ? `queued ${answer.jobId}` : `stored ${answer.objectId}`
}

async function print(verb: Exclude<VerbName, 'store'>, answer: unknown, isJson: boolean): Promise<number> {
  const { exitCodeOf, printAnswer } = await import('./print-answer.ts')
  if (isJson) writeJson(answer)
  else printAnswer(verb, answer, process.stdout, process.stderr, Date.now())
  return exitCodeOf(verb, answer)
}

function writeJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

process.exitCode = await main(process.argv.slice(2))
