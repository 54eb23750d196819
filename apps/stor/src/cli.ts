// The hook path from GET to first byte runs through this file: what only asks the daemon imports next to nothing.
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { StoreResult, TransferProgress } from '@qsfs/protocol/stor-control'

const USAGE = `usage: stor <command> [options]
  store -f FILE [--name NAME] [--attach FILE] [--progress]   store a file; prints: stored <object id>
  retrieve -f FILE [--name NAME | --object ID] [--attachment-to FILE] [--progress]
  check (-f FILE | --object ID)     the stored file's BLAKE2b-128; taken from its shards the first time
  delete (-f FILE | --object ID)
  status                            backends, room, how many more may be lost
  test                              try every backend, the master secret and the placement
  monitor                           run the daemon
options:
  -c, --config FILE   qsfs.toml, or a zstor config    --socket PATH   the daemon's control socket
  --daemon            ask the daemon or fail          --json          print the answer as JSON`

const options = {
  config: { type: 'string', short: 'c' },
  socket: { type: 'string' },
  daemon: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  progress: { type: 'boolean', default: false },
  file: { type: 'string', short: 'f' },
  name: { type: 'string' },
  attach: { type: 'string' },
  'attachment-to': { type: 'string' },
  object: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Verb = 'store' | 'retrieve' | 'check' | 'delete' | 'status' | 'test'
const VERBS: readonly string[] = ['store', 'retrieve', 'check', 'delete', 'status', 'test'] satisfies Verb[]

class WrongUsage extends Error {
  readonly exitCode = 2
}

process.exitCode = await main(process.argv.slice(2))

async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === 'monitor') {
    process.argv.splice(2, 1)
    await import('./main.ts')
    return 0
  }
  try {
    return await command(argv[0] === '--' ? argv.slice(1) : argv)
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const isUsage = ('exitCode' in error && error.exitCode === 2) || ('code' in error && error.code === 'usage')
    process.stderr.write(`stor: ${error.message}\n`)
    return isUsage ? 2 : 1
  }
}

async function command(argv: readonly string[]): Promise<number> {
  const { verb, flags } = parse(argv)
  if (flags.help) {
    process.stdout.write(`${USAGE}\n`)
    return 0
  }
  const params = paramsOf(verb, flags)
  const progress = flags.progress ? await openProgress() : null
  try {
    const answer = await ask(verb, params, flags, progress?.update)
    progress?.stop()
    return await print(verb, answer, flags.json)
  } finally {
    progress?.stop()
  }
}

function parse(argv: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true })
    const [verb] = positionals
    if (positionals.length > 1) throw new WrongUsage(`${positionals[1]} is one word too many\n${USAGE}`)
    if (!values.help && !VERBS.includes(verb ?? ''))
      throw new WrongUsage(`${verb ?? 'nothing'} is no command\n${USAGE}`)
    return { verb: verb as Verb, flags: values }
  } catch (error) {
    if (error instanceof WrongUsage) throw error
    throw new WrongUsage((error as Error).message)
  }
}
type Flags = ReturnType<typeof parse>['flags']

/** The request of a verb. Paths become absolute here: the daemon has another working directory. */
function paramsOf(verb: Verb, flags: Flags): Record<string, string> {
  const here = (path: string | undefined) =>
    path === undefined ? undefined : resolve(process.env.INIT_CWD ?? '.', path)
  const { object: objectId } = flags
  const [file, name, attach] = [here(flags.file), here(flags.name), here(flags.attach)]
  const attachmentTo = here(flags['attachment-to'])
  const given = {
    store: { file, name, attach },
    retrieve: { file, name, objectId, attachmentTo },
    check: { file, objectId },
    delete: { file, objectId },
    status: {},
    test: {},
  }[verb]
  const isNamed = file !== undefined || ((verb === 'check' || verb === 'delete') && objectId !== undefined)
  if (verb !== 'status' && verb !== 'test' && !isNamed) throw new WrongUsage(`${verb}: which file? -f FILE`)
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

/** Asks the daemon; without one, and unless told otherwise, does the work here under the store's lock. */
async function ask(
  verb: Verb,
  params: Record<string, string>,
  flags: Flags,
  onProgress: ((progress: TransferProgress) => void) | undefined,
): Promise<unknown> {
  const configPath = flags.config ?? (process.env.QSFS_CONFIG || undefined)
  // What was typed goes before what the environment says.
  const inherited = flags.config === undefined ? process.env.QSFS_STOR_SOCKET || undefined : undefined
  const socket = flags.socket ?? inherited ?? (await socketOfConfig(configPath))
  if (socket !== null) {
    const { askControl, ControlUnreachable } = await import('@qsfs/daemon/control')
    try {
      return await askControl(socket, verb, params, {
        onProgress: value => onProgress?.(value as TransferProgress),
      })
    } catch (error) {
      // A daemon that broke off may still be at it: only when none was there is the work ours.
      const isAbsent = error instanceof ControlUnreachable && hasNoListener(error.cause)
      if (!isAbsent || flags.daemon || configPath === undefined) throw error
    }
  } else if (flags.daemon) {
    throw new WrongUsage('--daemon: the config names no socket')
  }
  const { runHere } = await import('./in-process.ts')
  return runHere(verb, params, configPath!, onProgress)
}

async function socketOfConfig(configPath: string | undefined): Promise<string | null> {
  if (configPath === undefined) throw new WrongUsage('which store? --config FILE or --socket PATH')
  const { loadStorConfig } = await import('./config.ts')
  return loadStorConfig(configPath).socket
}

function hasNoListener(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED')
}

async function openProgress() {
  if (!process.stderr.isTTY) return null
  const { openProgressBar } = await import('./progress-bar.ts')
  return openProgressBar(process.stderr)
}

async function print(verb: Verb, answer: unknown, isJson: boolean): Promise<number> {
  if (isJson) {
    process.stdout.write(`${JSON.stringify(answer)}\n`)
    return verb === 'test' && !(answer as { ok: boolean }).ok ? 1 : 0
  }
  if (verb === 'retrieve') return 0
  if (verb === 'store') {
    const { objectId } = answer as StoreResult
    process.stdout.write(`stored ${objectId}\n`)
    return 0
  }
  const { printAnswer } = await import('./print-answer.ts')
  return printAnswer(verb, answer, text => void process.stdout.write(text))
}
