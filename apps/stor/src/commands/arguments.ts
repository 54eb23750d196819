import { resolve } from 'node:path'
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { type Flags, type VerbName, verbs, WrongUsage } from './verbs.ts'

const everywhere = {
  config: { type: 'string', short: 'c' },
  socket: { type: 'string' },
  daemon: { type: 'boolean' },
  json: { type: 'boolean' },
  debug: { type: 'boolean' },
  log_file: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const
/** zstor's own, before the verb: -d is --debug there, and --delete after `store`. */
const beforeVerb = { ...everywhere, debug: { type: 'boolean', short: 'd' } } as const

export interface Common {
  readonly config?: string
  readonly socket?: string
  readonly daemon?: boolean
  readonly json?: boolean
  readonly debug?: boolean
  readonly log_file?: string
  readonly help?: boolean
}

export type Command =
  | { readonly verb: 'help' }
  /** `words` are for the daemon's own main. */
  | { readonly verb: 'monitor'; readonly words: readonly string[] }
  | {
      readonly verb: VerbName
      readonly common: Common
      readonly flags: Flags
      readonly params: Readonly<Record<string, unknown>>
    }

/** What was typed: global options, a verb, its options and again global ones.
 *  @throws WrongUsage */
export function parseCommand(typed: readonly string[], callerDirectory: string): Command {
  const argv = typed[0] === '--' ? typed.slice(1) : typed
  const verbAt = verbIndex(argv)
  const before = parsed(argv.slice(0, verbAt), beforeVerb)
  if (before.help === true) return { verb: 'help' }
  const [verb = '', ...rest] = argv.slice(verbAt)
  if (verb === 'monitor') return { verb, words: [...argv.slice(0, verbAt), ...rest] }
  if (!isVerb(verb)) {
    const known = [...Object.keys(verbs), 'monitor'].join(', ')
    throw new WrongUsage(`${verb === '' ? 'nothing' : verb} is no command; known are ${known}; --help explains them`)
  }
  const { options, params } = verbs[verb]
  const flags = parsed(rest, { ...everywhere, ...options })
  if (flags.help === true) return { verb: 'help' }
  const given = params(flags, path => resolve(callerDirectory, path))
  return {
    verb,
    common: { ...before, ...flags } as Common,
    flags,
    params: Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  }
}

/** Every verb and option. */
export function usage(): string {
  const lines = Object.values(verbs).flatMap(({ usage }) => usage)
  return `usage: stor [options] <command> [options]
${lines.map(line => `  ${line}`).join('\n')}
  monitor   run the daemon
options:
  -c, --config FILE   qsfs.toml, or a zstor config    --socket PATH     the daemon's control socket
  --daemon            ask the daemon or fail          --json            print the answer as JSON, a failure too
  -d, --debug         before the command: log more    --log_file PATH   log there, not to stderr
exit codes: 0 done, 1 failed, 2 wrong usage or config`
}

/** Where the verb stands: the first word that is no option, nor an option's value. */
function verbIndex(argv: readonly string[]): number {
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!
    if (!word.startsWith('-')) return i
    const takesNext = Object.entries(beforeVerb).some(([name, option]) => {
      const short = 'short' in option ? `-${option.short}` : null
      return option.type === 'string' && (word === `--${name}` || word === short)
    })
    if (takesNext) i++
  }
  return argv.length
}

function parsed(args: readonly string[], options: ParseArgsOptionsConfig): Flags {
  try {
    return { ...parseArgs({ args: [...args], options, strict: true }).values } as Flags
  } catch (error) {
    throw new WrongUsage((error as Error).message)
  }
}

function isVerb(word: string): word is VerbName {
  return Object.hasOwn(verbs, word)
}
