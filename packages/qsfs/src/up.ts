import { randomBytes } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { formatSize } from '@qsfs/bytes/units'
import { type Clock, delay, systemClock } from '@qsfs/concurrency/clock'
import { fromCaller } from '@qsfs/config/caller'
import { createMasterFile } from '@qsfs/crypto/master-file'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { lockFile } from '@qsfs/daemon/lock-file'
import { runDaemon } from '@qsfs/daemon/run'
import { hookScript } from './apps.ts'
import { type CachedbAccess, connectCachedb, type Dispersal, dispersalOf, viewNamespaces } from './cachedb-view.ts'
import { effectiveConfig } from './embedded/effective-config.ts'
import { noteUserConfig } from './embedded/last-config.ts'
import {
  makeSocketDirectory,
  makeStateDirectory,
  type StateDirectory,
  stateDirectory,
} from './embedded/state-directory.ts'
import { checkBeforeStart } from './preflight.ts'
import { beingChecked, earlierDaemonsGone, liveInstance } from './running.ts'
import { mountUsers } from './supervisor/mount-users.ts'
import { Supervisor } from './supervisor/supervisor.ts'
import { say, terminalLog } from './terminal-log.ts'

export interface UpOptions {
  readonly state: string
  readonly mount?: string
  readonly config?: string
  readonly transport?: string
}

/** How long a stop waits for segments that are on their way to the backends. */
const storeWithinMs = 20_000
/** How many programs that use a mount are named when it is taken away. */
const usersShown = 10

/** `qsfs up`: starts everything, prints `ready: <mountpoint>`, and keeps it running until it is told to stop. */
export function up(options: UpOptions): Promise<never> {
  const log = terminalLog()
  return runDaemon(
    'qsfs',
    async ({ signal, stack }) => {
      try {
        await start(options, stack, signal)
      } catch (error) {
        // Told to stop before it was ready: that is no failure.
        if (!signal.aborted || error !== signal.reason) throw error
      }
    },
    { log },
  )

  async function start(
    { state: typedState, mount, config, transport }: UpOptions,
    stack: AsyncDisposableStack,
    signal: AbortSignal,
  ) {
    const state = stateDirectory(fromCaller(typedState))
    makeStateDirectory(state)
    stack.use(lockState(state))
    const socketDirectory = makeSocketDirectory(state.path, process.env)
    const configPath = config === undefined ? undefined : fromCaller(config)
    const effective = effectiveConfig({
      state,
      socketDirectory,
      hookPath: hookScript,
      configPath,
      mountpoint: mount,
      transport,
    })
    noteUserConfig(state, configPath)
    await earlierDaemonsGone(state, signal)
    await checkBeforeStart(effective.mountpoint, effective.transport)
    if (effective.masterKeyPath !== null) await requireMasterSecret(effective.masterKeyPath, state)

    const supervisor = new Supervisor(effective, state, socketDirectory, 'up', systemClock, log)
    stack.defer(() => rmSync(socketDirectory, { recursive: true, force: true }))
    stack.defer(() => supervisor.stop())
    await supervisor.start(signal)
    const cachedb = { address: effective.cachedbAddress, adminPasswordFile: effective.cachedbPasswordFile }
    stack.defer(() => flushAndStore(supervisor, cachedb, effective.mountpoint))
    process.stdout.write(`ready: ${effective.mountpoint}\n`)
  }
}

/** @throws ExpectedFailure naming who has it */
function lockState(state: StateDirectory): Disposable {
  try {
    return lockFile(state.lockPath, `the state ${state.path}`)
  } catch (cause) {
    const other = liveInstance(state)
    // One that has just begun has noted nothing yet.
    if (other === null) throw cause
    const sentence =
      other.command === 'fsck'
        ? beingChecked(other)
        : `qsfs runs already on the state ${state.path}: process ${other.supervisorPid}, mounted at ${other.mount}`
    throw new ExpectedFailure(1, sentence, { cause })
  }
}

/** Generates the secret on the first start. A state that holds data and no secret is not a first start.
 *  @throws ExpectedFailure */
async function requireMasterSecret(path: string, { cachePath }: StateDirectory): Promise<void> {
  if (existsSync(path)) return
  if (existsSync(cachePath)) {
    throw new ExpectedFailure(
      1,
      `the master secret ${path} is missing; without it nothing that left this machine can be read, put it back`,
    )
  }
  await createMasterFile(path, randomBytes)
  say(`a new master secret is in ${path}. Keep a copy away from this machine: without it nothing can be read back.`)
}

/** Ends fs, gives the stores under way some time, and says what is on this machine only.
 *  @throws ExpectedFailure when fs could not flush everything */
async function flushAndStore(supervisor: Supervisor, cachedb: CachedbAccess, mountpoint: string): Promise<void> {
  say('stopping: writing back, unmounting')
  const users = mountUsers(mountpoint)
  if (users.length > 0) say(`${mountpoint} is in use by ${firstOf(users)}: they get errors from now on`)
  const isFlushed = await supervisor.stopFs()
  const dispersal = await waitUntilStored(cachedb, systemClock, storeWithinMs)
  if (dispersal === null) say('cachedb does not answer; what is not stored yet is stored after the next start')
  else if (dispersal.openBytes + dispersal.closedBytes > 0) say(notDispersed(dispersal))
  if (!isFlushed) throw new ExpectedFailure(1, `fs did not end well; ${supervisor.fs.spec.logPath} says why`)
}

function firstOf(users: readonly string[]): string {
  const shown = users.slice(0, usersShown).join(', ')
  return users.length > usersShown ? `${shown} and ${users.length - usersShown} more` : shown
}

function notDispersed({ openBytes, closedBytes }: Dispersal): string {
  const parts = [
    ...(openBytes > 0 ? [`${formatSize(openBytes)} in segments that are not full yet`] : []),
    ...(closedBytes > 0 ? [`${formatSize(closedBytes)} in closed segments that could not be stored in time`] : []),
  ]
  return `on this machine only: ${parts.join(' and ')}; nothing is lost, the next start goes on (\`qsfs sync --wait\` disperses everything)`
}

/** @returns what is left when everything closed is stored or the time is over; null when cachedb does not answer */
async function waitUntilStored(cachedb: CachedbAccess, clock: Clock, withinMs: number): Promise<Dispersal | null> {
  const deadlineMs = clock.monotonicMs() + withinMs
  try {
    await using client = await connectCachedb(cachedb)
    for (;;) {
      const dispersal = dispersalOf(await viewNamespaces(client))
      if (dispersal.allClosedStored || clock.monotonicMs() > deadlineMs) return dispersal
      await delay(clock, 200)
    }
  } catch {
    // Whatever it is, it must not keep the daemons from being stopped; the caller says that nothing is known.
    return null
  }
}
