import { randomBytes } from 'node:crypto'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { systemClock } from '@qsfs/concurrency/clock'
import { environmentValue, fromCaller, typedArguments } from '@qsfs/config/caller'
import { serveControl } from '@qsfs/daemon/control'
import { lockFile } from '@qsfs/daemon/lock-file'
import { serveMetrics } from '@qsfs/daemon/metrics-server'
import { type DaemonContext, ExpectedFailure, runDaemon } from '@qsfs/daemon/run'
import { Metrics } from '@qsfs/telemetry/metrics'
import { loadStorConfig, lockFileOf, type StorConfig } from './config.ts'
import { controlHandlers } from './control.ts'
import { LiveStore } from './daemon/live-store.ts'
import { StorError } from './errors.ts'
import { openJobs } from './jobs/open-jobs.ts'
import { storeJobWork } from './jobs/store-file.ts'
import { StorCounts } from './metrics/counts.ts'
import { LiveMetrics } from './metrics/live-metrics.ts'
import type { Runtime } from './runtime.ts'

/** Where zstor looks when nothing is said. */
const ZSTOR_CONFIG = 'zstor_config.toml'

const options = {
  config: { type: 'string', short: 'c' },
  debug: { type: 'boolean', short: 'd' },
  log_file: { type: 'string' },
} as const
// What the log needs is read first; a wrong word is told by the daemon.
const { debug, log_file: logFile } = parseArgs({ args: typedArguments(), options, strict: false }).values

async function serve({ argv, log, stack, stop }: DaemonContext): Promise<void> {
  const config = loadStorConfig(configPath(argv))
  for (const remark of config.remarks) log.warn('config.without_effect', { remark })
  const { socket, pidFile } = config
  if (socket === null) throw new ExpectedFailure(2, 'the daemon needs socket = "/path" in [stor]')
  stack.use(lockFile(lockFileOf(config, tmpdir()), 'this store'))
  if (pidFile !== null) {
    writeFileSync(pidFile, `${process.pid}\n`)
    stack.defer(() => rmSync(pidFile, { force: true }))
  }
  const metrics = new Metrics()
  const counts = new StorCounts(metrics)
  const tools = { clock: systemClock, random: randomBytes, log, counts }
  const jobs = await openJobs(config, tools)
  const handlersOf = (runtime: Runtime) => controlHandlers(runtime, systemClock, jobs)
  const live = stack.use(new LiveStore(config, { load: () => loadStorConfig(configPath(argv)), handlersOf, tools }))
  try {
    await live.start()
  } catch (error) {
    if (error instanceof StorError) throw new ExpectedFailure(1, error.message, { cause: error })
    throw error
  }
  stack.use(jobs)
  jobs?.start(counts.ofJobs(storeJobWork(signal => live.objects(signal), jobs, log)))
  const reload = async () => {
    try {
      await live.reload()
    } catch (error) {
      if (!(error instanceof StorError)) return stop(error)
      log.error('config.not_reloaded', { error })
    }
  }
  process.on('SIGUSR1', () => void reload())
  const { metricsListen } = config
  if (metricsListen !== null) {
    const numbers = new LiveMetrics(metrics, live)
    const { port } = stack.use(
      await listening(
        metricsListen,
        serveMetrics(metricsListen, () => numbers.render(), log),
      ),
    )
    log.event('metrics.served', { host: metricsListen.host, port })
  }
  stack.use(await serveControl(socket, counts.ofCommands(live.handlers), log))
  log.event('stor.ready', { socket })
}

async function listening<T>({ host, port }: NonNullable<StorConfig['metricsListen']>, server: Promise<T>): Promise<T> {
  try {
    return await server
  } catch (error) {
    const text = `metrics cannot be served at ${host} port ${port}: ${(error as Error).message}`
    throw new ExpectedFailure(1, text, { cause: error })
  }
}

function configPath(argv: readonly string[]): string {
  try {
    const { values } = parseArgs({ args: [...argv], options })
    const named = values.config ?? environmentValue('QSFS_CONFIG')
    if (named) return named
  } catch (error) {
    throw new ExpectedFailure(2, (error as Error).message)
  }
  if (existsSync(fromCaller(ZSTOR_CONFIG))) return ZSTOR_CONFIG
  throw new ExpectedFailure(2, 'which config? --config FILE')
}

await runDaemon('stor', serve, {
  debug: debug === true,
  ...(typeof logFile === 'string' ? { logFile: fromCaller(logFile) } : {}),
})
