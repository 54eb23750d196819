// What the server does is main.ts; what else `cachedb` offers is here, and loads no more than it needs.
import { parseArgs } from 'node:util'
import { typedArguments } from '@qsfs/config/caller'
import { expectedEnd } from '@qsfs/daemon/failure'
import packageJson from '../package.json' with { type: 'json' }

const usage = `usage: cachedb [--config FILE] [--supervised]      serve
       cachedb export (--config FILE | --data DIR) [--namespace NAME]... --to DIR
       cachedb --help | --version

  --config FILE   a qsfs.toml with [cachedb]; without it the example beside the program
  --supervised    also stop when stdin closes
Every key of the config is explained in apps/cachedb/src/config.ts and docs/operations.md.`

const exportUsage = `usage: cachedb export (--config FILE | --data DIR) [--namespace NAME]... --to DIR

Writes what lives as 0-db would have: DIR/data and DIR/index, for its --data and --index. The server must not run.

  --config FILE      the server's qsfs.toml: its hook brings back segments that are not on this disk
  --data DIR         a data directory alone, whose segments are all there
  --namespace NAME   only this one; may be said again. Without it all of them
  --to DIR           where to; must be empty or not there`

class WrongUsage extends Error {}

process.exitCode = await main(typedArguments())

async function main(argv: readonly string[]): Promise<number> {
  try {
    return argv[0] === 'export' ? await runExport(argv.slice(1)) : await serve(argv)
  } catch (error) {
    if (error instanceof WrongUsage) {
      process.stderr.write(`cachedb: ${error.message}\n`)
      return 2
    }
    const end = expectedEnd(error)
    process.stderr.write(`cachedb: ${end?.sentence ?? (error instanceof Error ? error.stack : String(error))}\n`)
    return end?.exitCode ?? 1
  }
}

async function serve(argv: readonly string[]): Promise<number> {
  const { help, version } = parse(usage, () =>
    parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string' },
        supervised: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
      },
    }),
  ).values
  if (help) process.stdout.write(`${usage}\n`)
  else if (version) process.stdout.write(`${packageJson.version}\n`)
  else await import('./main.ts')
  return 0
}

async function runExport(argv: readonly string[]): Promise<number> {
  const { values } = parse(exportUsage, () =>
    parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string' },
        data: { type: 'string' },
        namespace: { type: 'string', multiple: true },
        to: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  )
  if (values.help) {
    process.stdout.write(`${exportUsage}\n`)
    return 0
  }
  const { config, data, to, namespace: namespaces = [] } = values
  if ((config === undefined) === (data === undefined)) throw new WrongUsage(`say --config or --data\n${exportUsage}`)
  if (to === undefined) throw new WrongUsage(`--to is missing\n${exportUsage}`)
  const source = config === undefined ? { data: data! } : { config }
  const { exportAll } = await import('./export-command.ts')
  await exportAll({ source, namespaces, target: to }, (name, { entries, valueBytes }) => {
    process.stdout.write(`${name}: ${entries} keys, ${valueBytes} bytes of values\n`)
  })
  return 0
}

function parse<T>(usageText: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new WrongUsage(`${error.message}\n${usageText}`)
  }
}
