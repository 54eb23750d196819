import assert from 'node:assert'
import { Semaphore } from '@qsfs/concurrency/semaphore'
import { SingleFlight } from '@qsfs/concurrency/single-flight'
import { FuseError } from '@qsfs/fuse/errno'
import type { NamespacePosition } from '@qsfs/protocol/cachedb-commands'
import { ConnectionLost, parsePositions, type Reply, RespError } from '@qsfs/resp/client'

/** What the store needs of a RespClient; a test hands in connections without a socket. */
export interface Connection extends AsyncDisposable {
  /** What OWNER answered, one per namespace in the order asked for. */
  readonly positions: readonly NamespacePosition[]
  /** Settles once the connection is gone. */
  readonly closed: Promise<Error | undefined>
  /** @throws RespError, ConnectionLost */
  call(...args: readonly (string | Buffer)[]): Promise<Reply>
}

/** Makes a connection: AUTH, SELECT, OWNER, and nothing is ever repeated on it. */
export type Connect = (options: {
  readonly namespace?: string
  readonly owner?: { readonly token: string; readonly namespaces: readonly string[] }
}) => Promise<Connection>

export interface NamespaceNames {
  readonly data: string
  readonly meta: string
}

const createAttemptsMax = 3

/** Restores waited for at once; cachedb runs two. */
const warmsInFlight = 4

/** The connections of one owner attempt: they live and die together, because the attempt that replaces them fences off
 *  whatever the server still finds in their buffers. */
export class CachedbSession implements AsyncDisposable {
  readonly blocks: Connection
  readonly records: Connection
  readonly blockReads: Connection
  readonly recordReads: Connection
  readonly control: Connection
  readonly names: NamespaceNames
  /** Settles once one of the connections is gone. */
  readonly lost: Promise<unknown>
  readonly #connectOwned: (namespace: string) => Promise<Connection>
  readonly #stack: AsyncDisposableStack
  readonly #warmRoom = new Semaphore(warmsInFlight)
  readonly #warms = new SingleFlight<string, void>()

  private constructor(
    names: NamespaceNames,
    connections: readonly Connection[],
    connectOwned: (namespace: string) => Promise<Connection>,
    stack: AsyncDisposableStack,
  ) {
    const [control, blocks, records, blockReads, recordReads] = connections
    this.control = control!
    this.blocks = blocks!
    this.records = records!
    this.blockReads = blockReads!
    this.recordReads = recordReads!
    this.names = names
    this.lost = Promise.race(connections.map(connection => connection.closed))
    this.#connectOwned = connectOwned
    this.#stack = stack
  }

  /** @param token `<owner id>.<attempt>`: a higher attempt makes the commands of lower ones fail, sent or not
   *  @throws RespError, ConnectionLost */
  static async open(connect: Connect, names: NamespaceNames, token: string): Promise<CachedbSession> {
    await using opening = new AsyncDisposableStack()
    const owner = { token, namespaces: [names.data, names.meta] }
    const connectOwned = (namespace: string) => connect({ namespace, owner })
    const connections: Connection[] = []
    const wanted = [names.data, names.data, names.meta, names.data, names.meta]
    for (const namespace of wanted) connections.push(opening.use(await connectOwned(namespace)))
    const instances = new Set(connections.flatMap(({ positions }) => positions.map(({ instance }) => instance)))
    if (instances.size !== 1) throw new ConnectionLost('the server was restarted while connecting')
    return new CachedbSession(names, connections, connectOwned, opening.move())
  }

  /** Where both namespaces stood when the last connection claimed them. */
  get positions(): { readonly data: NamespacePosition; readonly meta: NamespacePosition } {
    // Of the last one: nothing of an older attempt was executed after the first, and nothing of ours yet.
    const [data, meta] = this.recordReads.positions
    return { data: data!, meta: meta! }
  }

  /** Everything the server executed before, in both namespaces, is on its disk.
   *  @param connection the commands that went down this one before count as executed
   *  @throws RespError, ConnectionLost */
  async sync(connection: Connection): Promise<void> {
    const reply = await connection.call('FSYNC', this.names.data, this.names.meta)
    // By the instance that acknowledged all of it, or was told again.
    for (const { instance } of parsePositions(reply)) assert.equal(instance, this.positions.data.instance)
  }

  /** Waits until the segment is on the server's disk again. Callers of one segment share one wait; who leaves, leaves it going.
   *  @throws RespError, ConnectionLost */
  warm(namespace: string, segment: string): Promise<void> {
    return this.#warms.run(`${namespace} ${segment}`, async () => {
      using _room = await this.#warmRoom.acquire()
      // On a connection of its own: answers come in order, and this one takes as long as a restore.
      await using connection = await this.#connectOwned(namespace)
      await connection.call('WARM', segment)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

/** Makes the two namespaces if there are none yet: numbered blocks, named records. May be repeated after any half of it.
 *  @throws FuseError EIO when one of them exists in the other mode and is not empty; RespError, ConnectionLost */
export async function createNamespaces(connect: Connect, names: NamespaceNames): Promise<void> {
  await using connection = await connect({})
  await createNamespace(connection, names.data, { mode: 'sequential', argument: 'seq' })
  await createNamespace(connection, names.meta, { mode: 'userkey', argument: 'user' })
}

async function createNamespace(
  connection: Connection,
  name: string,
  { mode, argument }: { readonly mode: string; readonly argument: string },
): Promise<void> {
  for (let attemptsLeft = createAttemptsMax; ; attemptsLeft--) {
    const existing = await connection.call('NSLIST')
    if (Array.isArray(existing) && existing.map(String).includes(name)) {
      const info = String(await connection.call('NSINFO', name))
      if (info.includes(`mode: ${mode}`)) return
      // Made by a start that died before it could say which kind: the server may call it used, but there is nothing in it.
      if (!info.includes('\nentries: 0\n')) throw new FuseError('EIO', `the namespace ${name} holds other keys`)
      await connection.call('NSDEL', name)
    }
    await connection.call('NSNEW', name)
    try {
      await connection.call('NSSET', name, 'mode', argument)
    } catch (error) {
      // What an interrupted NSDEL left behind was taken for a used namespace; it goes with the next one.
      if (!(error instanceof RespError) || attemptsLeft === 0) throw error
    }
  }
}
