import { resolve } from 'node:path'

/** Where the person stands who typed the command: npm and pnpm start scripts in the package's folder and note the
 *  caller's directory in INIT_CWD. Relative paths of flags and configs count from there. */
export function callerDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return environment.INIT_CWD ?? process.cwd()
}

/** @returns an absolute path */
export function fromCaller(path: string, environment?: NodeJS.ProcessEnv): string {
  return resolve(callerDirectory(environment), path)
}

/** What a person typed after the program's name. pnpm hands the `--` that separates its flags from ours on; it is dropped. */
export function typedArguments(argv: readonly string[] = process.argv): string[] {
  const typed = argv.slice(2)
  return typed[0] === '--' ? typed.slice(1) : typed
}

/** A variable of the environment that the program was started with. */
export function environmentValue(name: string, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  return environment[name]
}
