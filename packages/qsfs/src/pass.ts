import { ExpectedFailure } from '@qsfs/daemon/failure'
import { type AppName, appCommand, appExample, appMain, appNames, nodeArguments } from './apps.ts'

/** `qsfs <app> …`: becomes that program, arguments, terminal, signals and exit code included. */
export function passOn(app: AppName, args: readonly string[]): never {
  return become(app, appCommand(app), args)
}

/** `qsfs run <app> …`: becomes that daemon, with the example config that lies beside it unless --config says another.
 *  @throws ExpectedFailure for a name that is none */
export function runAlone(app: string, args: readonly string[]): never {
  if (!isAppName(app)) throw new ExpectedFailure(2, `${app} is no daemon; there are ${appNames.join(', ')}`)
  const isTold = args.some(word => word === '--config' || word.startsWith('--config='))
  return become(app, appMain(app), isTold ? args : ['--config', appExample(app), ...args])
}

function isAppName(name: string): name is AppName {
  return (appNames as readonly string[]).includes(name)
}

/** execve(2), which Node has wherever it has /dev/fuse: no second process that would have to hand signals on. */
function become(app: AppName, script: string, args: readonly string[]): never {
  return process.execve!(process.execPath, [process.execPath, ...nodeArguments[app], script, ...args], process.env)
}
