import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { systemClock } from '@qsfs/concurrency/clock'
import type { ControlContext } from '@qsfs/daemon/control'
import { holdProcess } from '@qsfs/daemon/hold'
import { lockFile } from '@qsfs/daemon/lock-file'
import type { PlanResult, RecoverProgress, TransferProgress } from '@qsfs/protocol/stor-control'
import { createLog, silentLog } from '@qsfs/telemetry/log'
import { Metrics } from '@qsfs/telemetry/metrics'
import { Fleet } from './backend/fleet.ts'
import { BackendMetrics } from './backend/measure.ts'
import { loadStorConfig, lockFileOf } from './config.ts'
import { controlHandlers } from './control.ts'
import { StorError } from './errors.ts'
import { openJobs } from './jobs/open-jobs.ts'
import { planOf } from './plan/plan.ts'
import { Runtime } from './runtime.ts'
import { ObjectCount, statusOf } from './status.ts'

/** The plan of a config that need not be in use: its backends are only asked how much room they have.
 *  @throws ConfigError with the reason, when its promise cannot be kept */
export async function planHere(configPath: string): Promise<PlanResult> {
  const config = { ...loadStorConfig(configPath), createNamespaces: false }
  using _hold = holdProcess()
  await using fleet = new Fleet(config, systemClock, randomBytes, silentLog, new BackendMetrics(new Metrics()))
  await fleet.health.checkOnce()
  return planOf(config, fleet.planned)
}

export interface HereOptions {
  readonly debug: boolean
  readonly logFile: string | undefined
  /** The first one that will be asked. */
  readonly verb: string
}

/** A store that is open in this process, for the commands of one line typed. */
export interface StoreHere extends AsyncDisposable {
  ask(
    verb: string,
    params: Readonly<Record<string, unknown>>,
    onProgress?: (progress: TransferProgress | RecoverProgress) => void,
  ): Promise<unknown>
}

/** Opens the store in this process, where no daemon runs. The store's lock keeps a daemon, or another such command, away:
 *  there is one writer of records.
 *  @throws ExpectedFailure when the store is in use, StorError */
export async function openHere(configPath: string, { debug, logFile, verb }: HereOptions): Promise<StoreHere> {
  const config = loadStorConfig(configPath)
  const log = createLog({
    name: 'stor',
    level: debug ? 'debug' : 'warn',
    ...(logFile === undefined ? {} : { logFile }),
  })
  await using opening = new AsyncDisposableStack()
  opening.use(holdProcess())
  opening.use(lockFile(lockFileOf(config, tmpdir()), 'this store'))
  const runtime = opening.use(new Runtime(config, { clock: systemClock, random: randomBytes, log }))
  const stopping = new AbortController()
  const onSignal = () => stopping.abort(new StorError('unavailable', 'interrupted'))
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  try {
    await runtime.openOnce()
  } catch (error) {
    // Status and test are there to say what is wrong, recover to mend it.
    if (!(error instanceof StorError) || !['status', 'test', 'recover'].includes(verb)) throw error
  }
  const jobs = await openJobs(config, { clock: systemClock, random: randomBytes, log })
  const handlers = controlHandlers(runtime, systemClock, jobs)
  const owned = opening.move()
  return {
    async ask(verb, params, onProgress) {
      if (verb === 'status') return statusOf(runtime, new ObjectCount(systemClock), false)
      const progress: ControlContext['progress'] = value => onProgress?.(value as TransferProgress | RecoverProgress)
      return await handlers[verb]!(params, { progress, signal: stopping.signal })
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
