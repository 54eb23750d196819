import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { release } from 'node:os'
import { dirname } from 'node:path'
import type { Clock } from '@qsfs/concurrency/clock'
import { callerDirectory } from '@qsfs/config/caller'
import { canBeResumed, clearStaleMount } from '@qsfs/fuse/mount'
import type { Log } from '@qsfs/telemetry/log'
import { appMain, nodeArguments } from '../apps.ts'
import type { DaemonConfig, EffectiveConfig } from '../embedded/effective-config.ts'
import type { StateDirectory } from '../embedded/state-directory.ts'
import { formatSection } from '../embedded/toml-lines.ts'
import { sayingWhile } from '../waiting.ts'
import { ChildDaemon, type ChildSpec } from './child-daemon.ts'
import { HeldMount } from './held-mount.ts'
import { acceptsConnections, answersResp, servesMount } from './readiness.ts'
import { type RunningInstance, removeInstance, startTicksOf, writeInstance } from './running-processes.ts'

/** Where fs finds what it inherits: after stdin, stdout and stderr. */
const heldMountArguments = ['--held-mount', '3,4,5']

/** How long a daemon may take to end before it is killed: fs flushes, cachedb syncs. */
const stopWithinMs = 60_000

/** The local backends, stor, cachedb and fs of one state directory: started in this order, stopped in the other. */
export class Supervisor {
  readonly backends: readonly ChildDaemon[]
  readonly stor: ChildDaemon
  readonly cachedb: ChildDaemon
  readonly fs: ChildDaemon
  readonly #config: EffectiveConfig
  readonly #state: StateDirectory
  readonly #clock: Clock
  readonly #command: RunningInstance['command']
  readonly #heldMount: HeldMount | null
  #isStopping = false
  #isOver = false

  /** @param directory of our own, in memory if there is one
   *  @param command what runs it */
  constructor(
    config: EffectiveConfig,
    state: StateDirectory,
    directory: string,
    command: RunningInstance['command'],
    clock: Clock,
    log: Log,
  ) {
    this.#config = config
    this.#heldMount =
      config.transport === 'kernel' && canBeResumed(release())
        ? new HeldMount({ mountpoint: config.mountpoint, allowOther: config.isOpenToOthers, directory, log })
        : null
    this.#state = state
    this.#clock = clock
    this.#command = command
    const child = (daemon: DaemonConfig, isReady: () => Promise<boolean>) =>
      new ChildDaemon(this.#spec(daemon, isReady), clock, randomBytes, log, () => this.#noteProcesses())
    this.backends = config.backends.map(backend => child(backend, () => answersResp(`unix:${backend.values.socket}`)))
    // stor before cachedb: a segment missing at cachedb's start is asked for at once.
    this.stor = child(config.stor, () => acceptsConnections(config.storSocket))
    this.cachedb = child(config.cachedb, () => answersResp(config.cachedbAddress))
    this.fs = child(config.fs, () => servesMount(config.fsSocket, config.mountpoint))
  }

  get daemons(): readonly ChildDaemon[] {
    return [...this.backends, this.stor, this.cachedb, this.fs]
  }

  /** Starts all, each when those it needs are ready, and keeps them running.
   *  @throws ExpectedFailure with the sentence of the one that could not; `stop` ends the others */
  async start(signal: AbortSignal): Promise<void> {
    await this.startServers(signal)
    await this.#started(signal, this.fs)
    for (const daemon of this.daemons) daemon.keepRunning()
  }

  /** All but fs.
   *  @throws as `start` */
  async startServers(signal: AbortSignal): Promise<void> {
    await this.#started(signal, ...this.backends)
    await this.#started(signal, this.stor)
    await this.#started(signal, this.cachedb)
  }

  async #started(signal: AbortSignal, ...daemons: readonly ChildDaemon[]): Promise<void> {
    const waiting = new Set(daemons)
    const starting = daemons.map(async daemon => {
      await daemon.start(signal)
      waiting.delete(daemon)
    })
    try {
      await sayingWhile(this.#clock, () => whatTheyDo([...waiting]), Promise.all(starting))
    } catch (error) {
      // One that was ready and died takes those above it along; its sentence is the one that explains.
      throw this.daemons.map(({ death }) => death).find(death => death !== null) ?? error
    }
  }

  /** Ends what is still running: fs first, so that it can flush into those below it. Repeating it changes nothing. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#noteProcesses()
    for (const daemon of [this.fs, this.cachedb, this.stor]) await this.#stopped(daemon)
    await Promise.all(this.backends.map(backend => this.#stopped(backend)))
    // Left behind by an fs that was killed.
    this.#heldMount?.[Symbol.dispose]()
    await clearStaleMount(this.#config.mountpoint)
    this.#isOver = true
    removeInstance(this.#state.processesPath)
  }

  /** Flushes and unmounts, while cachedb and stor go on.
   *  @returns whether everything was flushed */
  async stopFs(): Promise<boolean> {
    this.#isStopping = true
    this.#noteProcesses()
    const isFlushed = await this.#stopped(this.fs)
    this.#heldMount?.[Symbol.dispose]()
    return isFlushed
  }

  #stopped(daemon: ChildDaemon): Promise<boolean> {
    return sayingWhile(this.#clock, () => `${daemon.spec.name} to end`, daemon.stop(stopWithinMs))
  }

  #spec(daemon: DaemonConfig, isReady: () => Promise<boolean>): ChildSpec {
    const { name, app, section, values } = daemon
    const configPath = this.#state.configPath(name)
    mkdirSync(dirname(configPath), { recursive: true, mode: 0o700 })
    // Passwords of backends may be in it.
    writeFileSync(configPath, formatSection(section, values), { mode: 0o600 })
    const heldMount = app === 'fs' ? this.#heldMount : null
    const position = new RegExp(`${RegExp.escape(configPath)}:(\\d+)`)
    return {
      name,
      app,
      argv: [
        ...[...nodeArguments[app], appMain(app), '--config', configPath, '--supervised'],
        ...(heldMount === null ? [] : heldMountArguments),
      ],
      ...(heldMount !== null && { descriptors: before => heldMount.descriptors({ isOver: before.endedWell }) }),
      logPath: this.#state.logPath(name),
      environment: { ...process.env, INIT_CWD: callerDirectory() },
      // Writers wait for fs and the cache; uploads wait for a quiet moment.
      background: daemon === this.#config.stor || this.#config.backends.includes(daemon),
      isReady,
      rephrase: sentence => sentence.replace(position, (ours, line) => daemon.userPosition(Number(line)) ?? ours),
    }
  }

  #noteProcesses(): void {
    if (this.#isOver) return
    const config = this.#config
    const processes = this.daemons.flatMap(({ spec, pid, restartCount }) =>
      pid === null ? [] : [{ name: spec.name, pid, restarts: restartCount, startTicks: startTicksOf(pid) }],
    )
    writeInstance(this.#state.processesPath, {
      command: this.#command,
      isStopping: this.#isStopping,
      state: this.#state.path,
      mount: config.mountpoint,
      transport: config.transport,
      supervisorPid: process.pid,
      supervisorStartTicks: startTicksOf(process.pid),
      cachedb: {
        address: config.cachedbAddress,
        adminPasswordFile: config.cachedbPasswordFile,
        dataDirectory: config.cachedbDirectory,
        cacheBytesMax: config.cacheBytesMax,
      },
      storSocket: config.storSocket,
      fsSocket: config.fsSocket,
      masterKeyPath: config.masterKeyPath,
      processes,
    })
  }
}

/** `cachedb; …/logs/cachedb.log says: namespace.loading {…}`, of several the log of the first. */
function whatTheyDo(daemons: readonly ChildDaemon[]): string {
  const [first] = daemons
  const names = daemons.map(({ spec }) => spec.name).join(', ')
  return first === undefined ? names : `${names}; ${first.spec.logPath} says: ${first.lastEvent() ?? 'nothing yet'}`
}
