import { fromCaller } from '@qsfs/config/caller'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { stateDirectory } from './embedded/state-directory.ts'
import { type RunningInstance, readInstance, startTicksOf } from './supervisor/running-processes.ts'

/** What runs on a state directory.
 *  @throws ExpectedFailure when nothing does */
export function runningInstance(typedState: string): RunningInstance {
  const state = stateDirectory(fromCaller(typedState))
  const instance = readInstance(state.processesPath)
  if (instance === null || startTicksOf(instance.supervisorPid) === null) {
    throw new ExpectedFailure(
      1,
      `no qsfs runs on the state ${state.path}; start it with \`qsfs up --state ${state.path}\``,
    )
  }
  return instance
}
