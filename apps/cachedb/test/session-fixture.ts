import { type Reply, type ReplyOrError, RespError } from '@qsfs/resp/reply'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { Audience } from '../src/audience.ts'
import type { EngineContext } from '../src/engine/context.ts'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import type { NamespaceSettings } from '../src/engine/namespace.ts'
import { Namespaces, type NamespacesOptions } from '../src/engine/namespaces.ts'
import { Points } from '../src/engine/points/points.ts'
import { ServerStats } from '../src/server-stats.ts'
import { type ServerState, Session } from '../src/session.ts'
import { engineContext } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

export interface ServerOptions {
  readonly storage?: SimulatedStorage
  readonly hooks?: Hooks
  readonly adminPassword?: string
  readonly isProtected?: boolean
  readonly mode?: NamespacesOptions['mode']
  readonly override?: Partial<NamespaceSettings>
  readonly stop?: () => void
  readonly seed?: number
  /** 0: no compaction. */
  readonly compactBelow?: number
}

/** Sessions without sockets, on a disk in memory and a clock that stands still. */
export class SocketlessServer implements AsyncDisposable {
  readonly clock: ManualClock
  readonly context: EngineContext
  readonly state: ServerState

  private constructor(clock: ManualClock, context: EngineContext, state: ServerState) {
    this.clock = clock
    this.context = context
    this.state = state
  }

  static async start(options: ServerOptions = {}): Promise<SocketlessServer> {
    const { storage = new SimulatedStorage(), hooks = noHooks, adminPassword = '', isProtected = false } = options
    const { seed = 1, compactBelow = 0 } = options
    const clock = new ManualClock()
    storage.makeDirectory('/data')
    const context = engineContext(storage, prngFromSeed(seed), { hooks, clock, compactBelow })
    const defaultOverride = { ...options.override, ...(isProtected ? { password: adminPassword } : {}) }
    const names = { dataDirectory: '/data', mode: options.mode ?? 'mixed', pinned: new Set<string>(), defaultOverride }
    const namespaces = await Namespaces.open(names, context)
    const state: ServerState = {
      namespaces,
      points: Points.open(namespaces, context),
      hooks,
      clock,
      random: context.random,
      log: silentLog,
      stats: new ServerStats(0, 1),
      audience: new Audience(clock),
      adminPassword,
      isProtected,
      syncEachWrite: false,
      stop: options.stop ?? null,
    }
    return new SocketlessServer(clock, context, state)
  }

  client(): SocketlessClient {
    return new SocketlessClient(this.state)
  }

  /** Lets time pass, and the disk in memory do what takes it many turns of the event loop. */
  async pass(milliseconds: number): Promise<void> {
    const steps = 100
    for (let step = 0; step < steps; step++) {
      await this.clock.advance(milliseconds / steps)
      for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.state.points[Symbol.dispose]()
    await this.state.namespaces[Symbol.asyncDispose]()
  }
}

/** One session; replies are shown as text: +simple, -error, :integer, $bulk, $-1, [array], and '' for none. */
export class SocketlessClient {
  readonly session: Session
  /** What came out of turn. */
  readonly pushed: string[] = []

  constructor(state: ServerState) {
    this.session = new Session(state, { push: reply => void this.pushed.push(show(reply)) })
  }

  async ask(...args: readonly (string | Buffer)[]): Promise<string> {
    try {
      const reply = await this.session.execute(args.map(argument => Buffer.from(argument)))
      return typeof reply === 'symbol' ? '' : show(reply)
    } catch (error) {
      if (error instanceof RespError) return show(error)
      throw error
    }
  }
}

function show(reply: ReplyOrError): string {
  if (reply instanceof RespError) return `-${reply.message}`
  if (typeof reply === 'string') return `+${reply}`
  if (typeof reply === 'number') return `:${reply}`
  if (reply === null) return '$-1'
  return Buffer.isBuffer(reply) ? `$${reply.toString('latin1')}` : `[${(reply as Reply[]).map(show).join(' ')}]`
}
