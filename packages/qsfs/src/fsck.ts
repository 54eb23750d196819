import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { delay, systemClock } from '@qsfs/concurrency/clock'
import { fromCaller } from '@qsfs/config/caller'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { lockFile } from '@qsfs/daemon/lock-file'
import { appCommand, hookScript } from './apps.ts'
import { effectiveConfig } from './embedded/effective-config.ts'
import { lastUserConfig } from './embedded/last-config.ts'
import { makeSocketDirectory, type StateDirectory } from './embedded/state-directory.ts'
import { passOn } from './pass.ts'
import { beingChecked, chosenState, earlierDaemonsGone, liveInstance } from './running.ts'
import { answersResp } from './supervisor/readiness.ts'
import type { RunningInstance } from './supervisor/running-processes.ts'
import { Supervisor } from './supervisor/supervisor.ts'
import { terminalLog } from './terminal-log.ts'
import { sayingWhile } from './waiting.ts'

export interface FsckOptions {
  readonly state?: string
  readonly config?: string
  readonly repair?: boolean
  readonly deep?: boolean
  readonly json?: boolean
  readonly scratch?: string
}

/** A cachedb with much to load takes minutes. */
const serverWithinMs = 10 * 60_000
/** A qsfs that has ended still holds the lock for a moment, one that begins has noted nothing yet. */
const lockWithinSeconds = 5

/** `qsfs fsck`: checks the filesystem of a state directory, mounted or not. What it needs of daemons is started for it when nothing runs.
 *  Exit code 0: nothing is wrong (any more); 1: something is; 2: wrong usage.
 *  @throws ExpectedFailure */
export async function fsck(options: FsckOptions): Promise<void> {
  const state = chosenState(options.state)
  const args = ['fsck', '--config', state.configPath('fs'), ...flagsOf(options)]
  for (;;) {
    const running = liveInstance(state)
    if (running?.command === 'fsck') throw new ExpectedFailure(1, beingChecked(running))
    if (running !== null) {
      if (options.repair) throw new ExpectedFailure(2, mustStop(running))
      const { supervisorPid } = running
      const serving = sayingWhile(systemClock, () => `process ${supervisorPid} to serve, or to end`, serves(state))
      if (await serving) return passOn('fs', args)
    }
    if (!existsSync(state.cachePath)) throw new ExpectedFailure(1, `there is no filesystem in the state ${state.path}`)
    const lock = lockUnlessRunning(state)
    if (lock === null) continue
    process.exitCode = await withServers(state, lock, options.config, () => exitCodeOf(args))
    return
  }
}

/** @returns null: something has begun to run there
 *  @throws ExpectedFailure */
function lockUnlessRunning(state: StateDirectory): Disposable | null {
  try {
    return lockFile(state.lockPath, `the state ${state.path}`, { waitSeconds: lockWithinSeconds })
  } catch (error) {
    if (liveInstance(state) === null) throw error
    return null
  }
}

function flagsOf({ repair = false, deep = false, json = false, scratch }: FsckOptions): string[] {
  return [
    ...(repair ? ['--repair'] : []),
    ...(deep ? ['--deep'] : []),
    ...(json ? ['--json'] : []),
    ...(scratch === undefined ? [] : ['--scratch', fromCaller(scratch)]),
  ]
}

function mustStop({ supervisorPid, mount }: RunningInstance): string {
  return `--repair needs the filesystem for itself: end qsfs (process ${supervisorPid}, mounted at ${mount}) first`
}

/** Waits for the server of a qsfs that starts, or starts its cachedb again.
 *  @returns false when that qsfs has ended */
async function serves(state: StateDirectory): Promise<boolean> {
  const deadlineMs = systemClock.monotonicMs() + serverWithinMs
  for (;;) {
    const running = liveInstance(state)
    if (running === null) return false
    const isStarted = running.processes.some(({ name }) => name === 'cachedb')
    if (isStarted && !running.isStopping && (await answersResp(running.cachedb.address))) return true
    if (systemClock.monotonicMs() > deadlineMs) {
      const sentence = `cachedb does not answer at ${running.cachedb.address}; ${state.logPath('cachedb')} may say why`
      throw new ExpectedFailure(1, sentence)
    }
    await delay(systemClock, 200)
  }
}

/** Backends, stor and cachedb, but no fs, for as long as `use` takes. */
async function withServers<T>(
  state: StateDirectory,
  lock: Disposable,
  config: string | undefined,
  use: () => Promise<T>,
): Promise<T> {
  const told = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => told.abort(new ExpectedFailure(1, `stopped by ${signal}`)))
  }
  await using stack = new AsyncDisposableStack()
  stack.use(lock)
  const socketDirectory = makeSocketDirectory(state.path, process.env)
  stack.defer(() => rmSync(socketDirectory, { recursive: true, force: true }))
  const effective = effectiveConfig({
    state,
    socketDirectory,
    hookPath: hookScript,
    configPath: config === undefined ? lastUserConfig(state) : fromCaller(config),
    mountpoint: undefined,
    transport: undefined,
  })
  await earlierDaemonsGone(state, told.signal)
  const supervisor = new Supervisor(effective, state, socketDirectory, 'fsck', systemClock, terminalLog())
  stack.defer(() => supervisor.stop())
  await supervisor.startServers(told.signal)
  return await use()
}

async function exitCodeOf(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [appCommand('fs'), ...args], { stdio: 'inherit' })
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}
