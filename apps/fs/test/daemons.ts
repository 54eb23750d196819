import { join } from 'node:path'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'

const apps = join(import.meta.dirname, '../..')

/** A daemon with its section of a config. */
export function spawnDaemon(
  app: 'cachedb' | 'fs',
  config: string,
  args: readonly string[] = [],
  descriptors: readonly number[] = [],
): SpawnedProcess {
  const program = join(apps, app, 'src/main.ts')
  return spawnProcess(process.execPath, [program, '--config', config, ...args], { stopWithinMs: 20_000, descriptors })
}

/** `fs fsck` on a config. */
export async function runFsck(
  config: string,
  ...flags: readonly string[]
): Promise<{ exitCode: number | string; stdout: string; stderr: string }> {
  const program = join(apps, 'fs/src/cli.ts')
  await using checking = spawnProcess(process.execPath, [program, 'fsck', '--config', config, ...flags])
  const exitCode = await checking.exited
  return { exitCode, stdout: checking.stdout, stderr: checking.stderr }
}
