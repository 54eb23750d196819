import { spawnProcess } from '@qsfs/testkit/spawn'

const CLI = new URL('../src/cli.ts', import.meta.url).pathname
const MAIN = new URL('../src/main.ts', import.meta.url).pathname

export interface Ended {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

export async function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  await using child = spawnProcess(command, args, { env: { QSFS_STOR_SOCKET: '', QSFS_CONFIG: '', ...env } })
  const code = await child.exited
  return { code, stdout: child.stdout, stderr: child.stderr }
}

/** One command of stor. */
export const cli = (...args: string[]) => run(process.execPath, [CLI, ...args])

/** What it printed as JSON. */
export async function json(...args: string[]) {
  return JSON.parse((await cli(...args, '--json')).stdout)
}

/** The daemon, ready. */
export async function startDaemon(stack: AsyncDisposableStack, config: string, ...args: string[]) {
  const daemon = stack.use(spawnProcess(process.execPath, [MAIN, '--config', config, ...args]))
  await daemon.waitForLine(/stor\.ready/)
  return daemon
}
