import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { systemClock } from '@qsfs/concurrency/clock'
import { fromCaller } from '@qsfs/config/caller'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { lockFile } from '@qsfs/daemon/lock-file'
import { appCommand, hookScript } from './apps.ts'
import { effectiveConfig } from './embedded/effective-config.ts'
import { makeSocketDirectory, type StateDirectory, stateDirectory } from './embedded/state-directory.ts'
import { passOn } from './pass.ts'
import { readInstance, startTicksOf, waitUntilGone } from './supervisor/running-processes.ts'
import { Supervisor } from './supervisor/supervisor.ts'
import { terminalLog } from './terminal-log.ts'

export interface FsckOptions {
  readonly state: string
  readonly config?: string
  readonly repair?: boolean
  readonly json?: boolean
  readonly scratch?: string
}

/** How long daemons of a killed supervisor may take to flush and leave. */
const leaveWithinMs = 60_000

/** `qsfs fsck`: checks the filesystem of a state directory, mounted or not. What it needs of daemons is started for it when nothing runs.
 *  Exit code 0: nothing is wrong (any more); 1: something is; 2: wrong usage.
 *  @throws ExpectedFailure */
export async function fsck(options: FsckOptions): Promise<void> {
  const state = stateDirectory(fromCaller(options.state))
  const args = ['fsck', '--config', state.configPath('fs'), ...flagsOf(options)]
  const running = readInstance(state.processesPath)
  if (running !== null && startTicksOf(running.supervisorPid) !== null) return passOn('fs', args)
  if (!existsSync(state.cachePath)) throw new ExpectedFailure(1, `there is no filesystem in the state ${state.path}`)
  process.exitCode = await withServers(state, options.config, () => exitCodeOf(args))
}

function flagsOf({ repair = false, json = false, scratch }: FsckOptions): string[] {
  return [
    ...(repair ? ['--repair'] : []),
    ...(json ? ['--json'] : []),
    ...(scratch === undefined ? [] : ['--scratch', fromCaller(scratch)]),
  ]
}

/** Backends, stor and cachedb, but no fs, for as long as `use` takes. */
async function withServers<T>(state: StateDirectory, config: string | undefined, use: () => Promise<T>): Promise<T> {
  const told = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => told.abort(new ExpectedFailure(1, `stopped by ${signal}`)))
  }
  await using stack = new AsyncDisposableStack()
  stack.use(lockFile(state.lockPath, `the state ${state.path}`))
  const socketDirectory = makeSocketDirectory(state.path, process.env)
  stack.defer(() => rmSync(socketDirectory, { recursive: true, force: true }))
  const effective = effectiveConfig({
    state,
    socketDirectory,
    hookPath: hookScript,
    configPath: config === undefined ? undefined : fromCaller(config),
    mountpoint: undefined,
    transport: undefined,
  })
  const earlier = readInstance(state.processesPath)
  if (earlier !== null) {
    await waitUntilGone(earlier.processes, systemClock, { withinMs: leaveWithinMs, signal: told.signal })
  }
  const supervisor = new Supervisor(effective, state, socketDirectory, systemClock, terminalLog())
  stack.defer(() => supervisor.stop())
  await Promise.all(supervisor.backends.map(backend => backend.start(told.signal)))
  await supervisor.stor.start(told.signal)
  await supervisor.cachedb.start(told.signal)
  return await use()
}

async function exitCodeOf(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [appCommand('fs'), ...args], { stdio: 'inherit' })
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}
