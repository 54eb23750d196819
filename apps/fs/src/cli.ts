// What is asked of `qsfs fs` before it mounts anything; the daemon is main.ts.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { typedArguments } from '@qsfs/config/caller'
import { expectedEnd } from '@qsfs/daemon/failure'
import packageJson from '../package.json' with { type: 'json' }

const usage = `usage: fs [--config FILE] [--supervised]      mount and serve
       fs fsck [--config FILE] [--repair | --deep] [--json] [--scratch DIR]
                                             check the filesystem, mounted or not
       fs --help | --version

  --config FILE   a qsfs.toml with [fs]; without it the example beside the program
  --supervised    also stop when stdin closes
  --repair        set right what can be without losing anything; not while it is mounted
  --deep          read every block too, wherever it is, and compare it with its checksum
  --json          for programs
  --scratch DIR   where fsck puts a file as large as the metadata (default: the system's temporary directory)
fsck exits with 0 when nothing is wrong (any more), 1 when something is, 2 for wrong usage.
Every key of the config is explained in apps/fs/src/config.ts and docs/operations.md. To mount with everything that
belongs to it: qsfs up --help`

const exampleConfig = join(import.meta.dirname, '../example.toml')
const common = {
  config: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const

process.exitCode = await main()

async function main(): Promise<number> {
  const typed = typedArguments()
  try {
    return typed[0] === 'fsck' ? await runFsck(typed.slice(1)) : await serve(typed)
  } catch (error) {
    const isUsage = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
    const end = isUsage ? { exitCode: 2, sentence: `${error.message}\n${usage}` } : expectedEnd(error)
    if (end === null) throw error
    process.stderr.write(`fs: ${end.sentence}\n`)
    return end.exitCode
  }
}

async function serve(typed: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...typed], options: { ...common, supervised: { type: 'boolean' } } })
  if (!answered(values)) await import('./main.ts')
  return 0
}

async function runFsck(typed: readonly string[]): Promise<number> {
  const options = {
    ...common,
    repair: { type: 'boolean', default: false },
    deep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    scratch: { type: 'string' },
  } as const
  const { values } = parseArgs({ args: [...typed], options })
  if (answered(values)) return 0
  const { config: configPath = exampleConfig, repair, deep, json, scratch } = values
  const { fsckCommand } = await import('./fsck-command.ts')
  const { text, exitCode } = await fsckCommand({ configPath, repair, deep, json, scratch })
  process.stdout.write(text)
  return exitCode
}

/** What needs no config. */
function answered({ help, version }: { readonly help?: boolean; readonly version?: boolean }): boolean {
  if (help) process.stdout.write(`${usage}\n`)
  else if (version) process.stdout.write(`${packageJson.version}\n`)
  return help === true || version === true
}
