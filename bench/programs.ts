import { readFileSync } from 'node:fs'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { type AppName, appMain, nodeArguments } from '../packages/qsfs/src/apps.ts'

const compileCache = new URL('../node_modules/.cache/node', import.meta.url).pathname
/** As packages/qsfs/bin/qsfs sets it. Without the cache each thread has a TypeScript stripper of its own. */
const launcherEnv = { MALLOC_ARENA_MAX: '2', UV_THREADPOOL_SIZE: '8', NODE_COMPILE_CACHE: compileCache }

/** A daemon alone, as `qsfs` starts it.
 *  @param stopWithinMs how long it may take to end before it is killed */
export function startProgram(
  app: AppName,
  configPath: string,
  { stopWithinMs }: { readonly stopWithinMs?: number } = {},
): SpawnedProcess {
  const args = [...nodeArguments[app], appMain(app), '--config', configPath]
  return spawnProcess(process.execPath, args, { env: launcherEnv, ...(stopWithinMs && { stopWithinMs }) })
}

/** The most memory that a process ever held. @throws Error when there is none */
export function peakMiB(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (line === null) throw new Error(`process ${pid} has no memory any more`)
  return Number(line[1]) / 1024
}
