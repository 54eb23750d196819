import { existsSync, lstatSync, readdirSync, readlinkSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '@qsfs/concurrency/clock'
import { callerDirectory, fromCaller } from '@qsfs/config/caller'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { type StateDirectory, socketParents, stateDirectory } from './embedded/state-directory.ts'
import { insideOf } from './supervisor/mount-users.ts'
import { isRunning, type RunningInstance, readInstance, waitUntilGone } from './supervisor/running-processes.ts'
import { sayingWhile } from './waiting.ts'

/** The state directory that is meant: what --state says; else that of the mount `near` lies in; else ./.qsfs; else that of the only
 *  qsfs that runs.
 *  @param near a path without links
 *  @throws ExpectedFailure saying what to pass */
export function chosenState(typed: string | undefined, near: string = realpathSync(callerDirectory())): StateDirectory {
  if (typed !== undefined) return stateDirectory(fromCaller(typed))
  const running = instancesOfThisUser()
  const around = running.find(({ mount }) => insideOf(mount)(near))
  if (around !== undefined) return stateDirectory(around.state)
  const here = stateDirectory(fromCaller('./.qsfs'))
  if (existsSync(here.path)) return here
  const [only, ...others] = running
  if (only !== undefined && others.length === 0) return stateDirectory(only.state)
  const choices = running.map(({ state, mount }) => `--state ${state} (mounted at ${mount})`)
  const known = choices.length === 0 ? 'no qsfs of yours runs' : `these run: ${choices.join(', ')}`
  throw new ExpectedFailure(2, `there is no ${here.path}; say with --state DIR which one is meant: ${known}`)
}

/** What runs on a state directory.
 *  @throws ExpectedFailure when nothing does, or only a check */
export function runningInstance(state: StateDirectory): RunningInstance {
  const instance = liveInstance(state)
  if (instance === null) {
    throw new ExpectedFailure(
      1,
      `no qsfs runs on the state ${state.path}; start it with \`qsfs up --state ${state.path}\``,
    )
  }
  if (instance.command === 'fsck') throw new ExpectedFailure(1, beingChecked(instance))
  return instance
}

/** How long daemons of a killed supervisor may take to flush and leave. */
const leaveWithinMs = 60_000

/** Waits for what a supervisor that was killed has left.
 *  @throws ExpectedFailure naming those that stay */
export async function earlierDaemonsGone({ processesPath }: StateDirectory, signal: AbortSignal): Promise<void> {
  const earlier = readInstance(processesPath)
  if (earlier === null) return
  const gone = waitUntilGone(earlier.processes, systemClock, { withinMs: leaveWithinMs, signal })
  await sayingWhile(systemClock, () => 'the daemons of an earlier start to end', gone)
}

/** null: nothing runs there. */
export function liveInstance({ processesPath }: StateDirectory): RunningInstance | null {
  const instance = readInstance(processesPath)
  if (instance === null) return null
  const { supervisorPid: pid, supervisorStartTicks: startTicks } = instance
  return isRunning({ pid, startTicks }) ? instance : null
}

export function beingChecked({ supervisorPid, state }: RunningInstance): string {
  return `process ${supervisorPid} checks the state ${state} with \`qsfs fsck\`; try again when it is done`
}

function instancesOfThisUser(): RunningInstance[] {
  return socketParents(process.env)
    .flatMap(parent => namesIn(parent).map(name => join(parent, name)))
    .map(directory => stateOf(directory))
    .filter(path => path !== null)
    .map(path => liveInstance(stateDirectory(path)))
    .filter(instance => instance !== null)
    .filter(({ command }) => command === 'up')
}

function namesIn(parent: string): string[] {
  return readdirSync(parent).filter(name => /^qsfs-[0-9a-f]{8}$/.test(name))
}

/** null: it is somebody else's, whatever it says, or it went away. */
function stateOf(socketDirectory: string): string | null {
  try {
    const { uid } = lstatSync(socketDirectory)
    return uid === process.getuid?.() ? readlinkSync(join(socketDirectory, 'state')) : null
  } catch {
    return null
  }
}
