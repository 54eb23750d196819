import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { systemClock } from '@qsfs/concurrency/clock'
import type { ControlContext } from '@qsfs/daemon/control'
import { holdProcess } from '@qsfs/daemon/hold'
import { lockFile } from '@qsfs/daemon/lock-file'
import type { TransferProgress } from '@qsfs/protocol/stor-control'
import { createLog } from '@qsfs/telemetry/log'
import { loadStorConfig, lockFileOf } from './config.ts'
import { controlHandlers } from './control.ts'
import { StorError } from './errors.ts'
import { Runtime } from './runtime.ts'
import { ObjectCount, statusOf } from './status.ts'

/** Does a command's work in this process, where no daemon runs. The store's lock keeps a daemon, or another such command,
 *  away: there is one writer of records.
 *  @throws ExpectedFailure when the store is in use, StorError */
export async function runHere(
  verb: string,
  params: Readonly<Record<string, string>>,
  configPath: string,
  onProgress: ((progress: TransferProgress) => void) | undefined,
): Promise<unknown> {
  const config = loadStorConfig(configPath)
  const log = createLog({ name: 'stor', level: 'warn' })
  using _hold = holdProcess()
  using _lock = lockFile(lockFileOf(config, tmpdir()), 'this store')
  await using runtime = new Runtime(config, { clock: systemClock, random: randomBytes, log })
  const stopping = new AbortController()
  const onSignal = () => stopping.abort(new StorError('unavailable', 'interrupted'))
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  const context: ControlContext = {
    progress: value => onProgress?.(value as TransferProgress),
    signal: stopping.signal,
  }
  try {
    await runtime.openOnce()
  } catch (error) {
    // Status and test are there to say what is wrong.
    if (!(error instanceof StorError) || (verb !== 'status' && verb !== 'test')) throw error
  }
  if (verb === 'status') return statusOf(runtime, new ObjectCount(systemClock), false)
  return await controlHandlers(runtime, systemClock)[verb]!(params, context)
}
