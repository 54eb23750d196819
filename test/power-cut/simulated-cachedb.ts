import assert from 'node:assert/strict'
import { KiB } from '@qsfs/bytes/units'
import { ConnectionLost, parsePositions, type Reply } from '@qsfs/resp/client'
import { noReply } from '@qsfs/resp/reply'
import { type Prng, prngFromSeed } from '@qsfs/testkit/prng'
import { Audience } from '../../apps/cachedb/src/audience.ts'
import { Compactor } from '../../apps/cachedb/src/engine/compaction/compactor.ts'
import { finishDrops } from '../../apps/cachedb/src/engine/dropped.ts'
import { noHooks } from '../../apps/cachedb/src/engine/hooks/hooks.ts'
import { EngineMetrics } from '../../apps/cachedb/src/engine/metrics/engine-metrics.ts'
import { Namespaces } from '../../apps/cachedb/src/engine/namespaces.ts'
import { Points } from '../../apps/cachedb/src/engine/points/points.ts'
import { OpenFiles } from '../../apps/cachedb/src/engine/shelf/open-files.ts'
import { Room } from '../../apps/cachedb/src/engine/shelf/room.ts'
import { ValueCache } from '../../apps/cachedb/src/engine/value-cache.ts'
import { ServerStats } from '../../apps/cachedb/src/server-stats.ts'
import { Session } from '../../apps/cachedb/src/session.ts'
import { SimulatedStorage } from '../../apps/cachedb/test/simulated-storage.ts'
import type { Connect, Connection } from '../../apps/fs/src/store/cachedb-session.ts'
import { impatientClock } from '../../apps/fs/test/impatient-clock.ts'
import { quietLog } from './quiet-log.ts'

const dataDirectory = '/cachedb'

/** What a power cut or a kill leaves: the disk, as each later start finds it. */
export type Aftermath = 'power cut' | 'kill'

/** cachedb's engine and sessions without sockets, over a simulated disk, in the process of the test. It can lose its
 *  process or its machine at any operation on the disk, and start again. */
export class SimulatedCachedb {
  storage = new SimulatedStorage()
  startCount = 0
  /** Called at every operation on the disk. */
  onOperation: () => void = () => undefined
  /** Set: nobody can connect any more, for this reason. */
  downFor: Error | null = null
  readonly #prng: Prng
  readonly #segmentBytesMax: number
  #server: Promise<RunningServer> | null = null
  readonly #connections = new Set<InProcessConnection>()

  /** @param segmentBytesMax small, so that a short history has segments that close and open */
  constructor(prng: Prng, segmentBytesMax: number) {
    this.#prng = prng
    this.#segmentBytesMax = segmentBytesMax
  }

  /** The process is gone at this instant; the next connection starts it on what the disk holds then. */
  die(aftermath: Aftermath): void {
    // What the dead process still does happens to a disk that nobody looks at.
    this.storage.onOperation = () => undefined
    this.storage = aftermath === 'power cut' ? this.storage.cut(this.#prng) : this.storage.kill()
    this.#server = null
    this.dropConnections()
  }

  dropConnections(): void {
    for (const connection of [...this.#connections]) connection.drop()
    this.#connections.clear()
  }

  readonly connect: Connect = async ({ namespace, owner }) => {
    if (this.downFor !== null) throw this.downFor
    const server = this.#running()
    const { state } = await server
    if (this.#server !== server) throw new ConnectionLost('the server died while connecting')
    const connection = new InProcessConnection(new Session(state, { push: () => undefined }))
    this.#connections.add(connection)
    if (namespace !== undefined) await connection.call('SELECT', namespace)
    if (owner !== undefined) {
      connection.positions = parsePositions(await connection.call('OWNER', owner.token, ...owner.namespaces))
    }
    return connection
  }

  #running(): Promise<RunningServer> {
    this.#server ??= this.#start()
    return this.#server
  }

  async #start(): Promise<RunningServer> {
    // Not before the promise is in its place: the first operation may be the one at which the server dies.
    await null
    this.startCount++
    const { storage } = this
    storage.makeDirectory(dataDirectory)
    storage.onOperation = () => this.onOperation()
    const random = prngFromSeed(this.#prng.below(2 ** 32))
    const segmentBytesMax = this.#segmentBytesMax
    const room = new Room(impatientClock, { limitBytes: 0, segmentBytesMax, freeBytes: () => Number.MAX_SAFE_INTEGER })
    const shared = {
      clock: impatientClock,
      log: quietLog,
      random: (bytes: number) => random.bytes(bytes),
      hooks: noHooks,
    }
    const context = {
      ...shared,
      storage,
      room,
      files: new OpenFiles(storage, 4),
      values: new ValueCache(64 * KiB),
      metrics: new EngineMetrics(),
      compactor: new Compactor(impatientClock, { below: 0, bytesPerSecond: 0, excluded: new Set<string>() }),
      instance: random.bytes(8).toString('hex'),
      limits: { segmentBytesMax, fsync: 'on-request' as const },
    }
    await finishDrops(dataDirectory, context)
    const namespaces = await Namespaces.open({ dataDirectory, mode: 'mixed', pinned: new Set(['meta']) }, context)
    const state = {
      ...shared,
      namespaces,
      points: Points.open(namespaces, context),
      stats: new ServerStats(0, 1),
      audience: new Audience(impatientClock),
      isProtected: false,
      adminPassword: '',
      syncEachWrite: false,
      stop: null,
    }
    return { state }
  }
}

interface RunningServer {
  readonly state: ConstructorParameters<typeof Session>[0]
}

/** A connection as RespClient makes one: commands in order, replies in order, then gone. */
class InProcessConnection implements Connection {
  positions: Connection['positions'] = []
  readonly #session: Session
  readonly #closed = Promise.withResolvers<Error | undefined>()
  readonly #lost = Promise.withResolvers<never>()
  #isClosed = false
  #last: Promise<unknown> = Promise.resolve()

  constructor(session: Session) {
    this.#session = session
    // Whoever calls meets it; without a caller it is nobody's failure.
    this.#lost.promise.catch(() => undefined)
  }

  get closed(): Promise<Error | undefined> {
    return this.#closed.promise
  }

  call(...args: readonly (string | Buffer)[]): Promise<Reply> {
    const reply = this.#after(this.#last, args)
    this.#last = reply.catch(() => undefined)
    return Promise.race([reply, this.#lost.promise])
  }

  drop(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#session.close()
    this.#lost.reject(new ConnectionLost('the connection is gone'))
    this.#closed.resolve(undefined)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.drop()
  }

  async #after(previous: Promise<unknown>, args: readonly (string | Buffer)[]): Promise<Reply> {
    await previous
    if (this.#isClosed) throw new ConnectionLost('the connection is gone')
    const reply = await this.#session.execute(args.map(argument => Buffer.from(argument)))
    if (this.#isClosed) throw new ConnectionLost('the connection is gone')
    assert(reply !== noReply, 'fs sends nothing that has no reply')
    return reply
  }
}
