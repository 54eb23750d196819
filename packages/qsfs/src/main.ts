import { typedArguments } from '@qsfs/config/caller'
import { expectedEnd } from '@qsfs/daemon/failure'
import { holdProcess } from '@qsfs/daemon/hold'
import { Command, CommanderError, Option } from 'commander'
import packageJson from '../package.json' with { type: 'json' }
import { appNames } from './apps.ts'

/** The `qsfs` command. Each subcommand is loaded when it is asked for: hooks pay for what they use only. */
const program = new Command('qsfs')
  .description('A filesystem you mount on one machine, whose bytes live in many places.')
  .version(packageJson.version)
  .exitOverride()
  .enablePositionalOptions()
const stateOption = () => new Option('--state <dir>', 'where this qsfs keeps its files').default('./.qsfs')
/** Of what asks one that exists: which one is found by `chosenState`. */
const chosenStateOption = () =>
  new Option(
    '--state <dir>',
    'where the qsfs that is meant keeps its files (default: that of the mount you stand in, ./.qsfs, or the only one that runs)',
  )

program
  .command('up')
  .description('start local backends, cachedb, stor and fs; mount; stay until Ctrl-C')
  .addOption(stateOption())
  .option('--mount <dir>', 'where to mount (default: ./mnt)')
  .option('--config <file>', 'a qsfs.toml with [fs], [cachedb] and [stor]')
  .addOption(new Option('--transport <name>', 'how to speak to the kernel').choices(['kernel', 'fuse-native']))
  .action(async options => (await import('./up.ts')).up(options))

program
  .command('status')
  .description('say what runs, what is stored, and what is on this machine only; of a path: where its bytes are')
  .argument('[path]', 'a file or a directory of the mount')
  .addOption(chosenStateOption())
  .option('--json', 'for programs')
  .action(async (path, options) => {
    if (path === undefined) await (await import('./status/status.ts')).status(options)
    else await (await import('./status/path-status.ts')).pathStatus(path, options)
  })

program
  .command('sync')
  .description('close what is open, so that everything written goes to the backends')
  .addOption(chosenStateOption())
  .option('--wait', 'until everything is stored')
  .action(async options => (await import('./sync.ts')).sync(options))

program
  .command('fsck')
  .description('check that the filesystem holds together, mounted or not')
  .addOption(chosenStateOption())
  .option('--config <file>', 'the qsfs.toml it is started with, when it does not run')
  .option('--repair', 'set right what can be without losing anything; not while it is mounted')
  .option('--deep', 'read every block too, and compare it with its checksum')
  .option('--json', 'for programs')
  .option('--scratch <dir>', 'where a file as large as the metadata goes')
  .action(async options => (await import('./fsck.ts')).fsck(options))

program
  .command('doctor')
  .description('check what this machine offers and say what is missing')
  .addOption(stateOption())
  .action(async options => (await import('./doctor.ts')).doctor(options))

program
  .command('run')
  .description('run one daemon alone, with its example config unless told another')
  .argument('<daemon>', appNames.join(', '))
  .argument('[arguments...]')
  .passThroughOptions()
  .allowUnknownOption()
  .action(async (daemon, passed) => (await import('./pass.ts')).runAlone(daemon, passed))

for (const app of appNames) {
  program
    .command(app)
    .description(`what ${app} itself offers: qsfs ${app} --help`)
    .argument('[arguments...]')
    .passThroughOptions()
    .allowUnknownOption()
    .helpOption(false)
    .action(async passed => (await import('./pass.ts')).passOn(app, passed))
}

for (const command of program.commands) command.exitOverride()

const hold = holdProcess()
try {
  await program.parseAsync(typedArguments(), { from: 'user' })
} catch (error) {
  process.exitCode = exitCodeOf(error)
} finally {
  hold[Symbol.dispose]()
}

/** commander has already said what is wrong with the arguments; 0 is --help and --version. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  const isTimeout = error instanceof DOMException && error.name === 'TimeoutError'
  const end = isTimeout
    ? { exitCode: 1, sentence: 'a daemon does not answer; its log may say why' }
    : expectedEnd(error)
  process.stderr.write(`qsfs: ${end?.sentence ?? (error instanceof Error ? error.stack : String(error))}\n`)
  return end?.exitCode ?? 1
}
