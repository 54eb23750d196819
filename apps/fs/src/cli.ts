// What is asked of `qsfs fs` before it mounts anything; the daemon is main.ts.
import { parseArgs } from 'node:util'
import { typedArguments } from '@qsfs/config/caller'
import packageJson from '../package.json' with { type: 'json' }

const usage = `usage: fs [--config FILE] [--supervised]      mount and serve
       fs --help | --version

  --config FILE   a qsfs.toml with [fs]; without it the example beside the program
  --supervised    also stop when stdin closes
Every key of the config is explained in apps/fs/src/config.ts and docs/operations.md. To mount with everything that
belongs to it: qsfs up --help`

process.exitCode = await main()

async function main(): Promise<number> {
  const asked = ask()
  if (asked instanceof Error) {
    process.stderr.write(`fs: ${asked.message}\n${usage}\n`)
    return 2
  }
  if (asked.help) process.stdout.write(`${usage}\n`)
  else if (asked.version) process.stdout.write(`${packageJson.version}\n`)
  else await import('./main.ts')
  return 0
}

function ask() {
  const options = {
    config: { type: 'string' },
    supervised: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean' },
  } as const
  try {
    return parseArgs({ args: typedArguments(), options }).values
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return error
  }
}
