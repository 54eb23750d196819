import { type SpawnedProcess, type SpawnOptions, spawnProcess } from '@qsfs/testkit/spawn'
import { type AppName, appMain, nodeArguments } from '../packages/qsfs/src/apps.ts'

/** As packages/qsfs/bin/qsfs sets it. Without the cache each thread has a TypeScript stripper of its own. */
const launcherEnv = {
  MALLOC_ARENA_MAX: '2',
  UV_THREADPOOL_SIZE: '8',
  NODE_COMPILE_CACHE: new URL('../node_modules/.cache/node', import.meta.url).pathname,
}

/** Starts a daemon as `qsfs up` does. */
export function startProgram(app: AppName, configPath: string, options: SpawnOptions = {}): SpawnedProcess {
  const args = [...nodeArguments[app], appMain(app), '--config', configPath]
  return spawnProcess(process.execPath, args, { ...options, env: { ...launcherEnv, ...options.env } })
}
