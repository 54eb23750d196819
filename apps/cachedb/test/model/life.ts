import type { Reply } from '@qsfs/resp/reply'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import type { Prng } from '@qsfs/testkit/prng'
import { Audience } from '../../src/audience.ts'
import { finishDrops } from '../../src/engine/dropped.ts'
import { noHooks } from '../../src/engine/hooks/hooks.ts'
import { Namespaces } from '../../src/engine/namespaces.ts'
import { Points } from '../../src/engine/points/points.ts'
import { ServerStats } from '../../src/server-stats.ts'
import { Session } from '../../src/session.ts'
import { digest, engineContext } from '../engine-fixture.ts'
import type { SimulatedStorage } from '../simulated-storage.ts'
import type { Knobs } from './knobs.ts'
import type { Contents, ReferenceValue } from './reference.ts'
import type { SimulatedStore, StoreManners } from './store.ts'

const dataDirectory = '/data'
/** What waits longer than this for the world hangs. */
const patienceMs = 600_000

/** Each look at it takes a little: budgets of time run out. */
class TickingClock extends ManualClock {
  #looks = 0

  override monotonicMs(): number {
    return super.monotonicMs() + this.#looks++ * 0.02
  }
}

/** What a command was answered, or will be. */
export class Answer {
  readonly name: string
  state: 'open' | 'reply' | 'error' = 'open'
  reply: unknown = undefined
  error: Error | null = null
  readonly #told: (() => void)[] = []

  constructor(name: string) {
    this.name = name
  }

  /** Called when it is there, at once if it is. */
  whenSettled(action: () => void): void {
    if (this.state === 'open') this.#told.push(action)
    else action()
  }

  settle(state: 'reply' | 'error', content: unknown): void {
    this.state = state
    if (state === 'reply') this.reply = content
    else this.error = content as Error
    for (const action of this.#told) action()
  }
}

/** One server process over a simulated disk, from its start to its end. */
export class Life {
  readonly clock: ManualClock
  readonly storage: SimulatedStorage
  readonly namespaces: Namespaces
  /** Set when the machine is gone: what goes on then happens to nobody. */
  isDead = false
  readonly #admin: Session
  readonly #sessions = new Map<string, Session>()
  readonly #open: () => Session

  private constructor(clock: ManualClock, storage: SimulatedStorage, namespaces: Namespaces, open: () => Session) {
    this.clock = clock
    this.storage = storage
    this.namespaces = namespaces
    this.#open = open
    this.#admin = open()
  }

  /** @param hasEnded asked while it starts: whether it was cut off; null is returned then
   *  @throws what the start throws */
  static async start(
    storage: SimulatedStorage,
    prng: Prng,
    knobs: Knobs,
    store: { readonly objects: SimulatedStore; readonly manners: StoreManners },
    hasEnded: () => boolean,
  ): Promise<Life | null> {
    const clock = new TickingClock()
    const { objects, manners } = store
    const life: { current: Life | null } = { current: null }
    const isDead = () => hasEnded() || life.current?.isDead === true
    const hooks = knobs.store === null ? noHooks : objects.hooksOf({ storage, clock, prng, manners, isDead })
    const { segmentBytesMax, fsync } = knobs
    const options = { ...knobs, hooks, clock, limitBytes: knobs.limitSegments * segmentBytesMax }
    const context = { ...engineContext(storage, prng, options), limits: { segmentBytesMax, fsync } }
    const opening = finishDrops(dataDirectory, context).then(() =>
      Namespaces.open({ dataDirectory, mode: 'mixed', pinned: new Set(['meta']) }, context),
    )
    const namespaces = await untilSettled(opening, clock, hasEnded)
    if (namespaces === null) return null
    const { log, random } = context
    const points = Points.open(namespaces, context)
    const state = {
      ...{ namespaces, points, hooks, clock, log, random },
      ...{ audience: new Audience(clock), stats: new ServerStats(0, 1), adminPassword: '', isProtected: false },
      ...{ syncEachWrite: fsync === 'always', stop: null },
    }
    life.current = new Life(clock, storage, namespaces, () => new Session(state, { push: () => undefined }))
    return life.current
  }

  /** Sends a command to a namespace; null: to `default`, as an admin. */
  send(namespace: string | null, ...args: readonly (string | Buffer)[]): Answer {
    const answer = new Answer(String(args[0]))
    const settle = (state: 'reply' | 'error', content: unknown) => {
      // Nobody hears what is said after the end.
      if (!this.isDead) answer.settle(state, content)
    }
    const session = namespace === null ? this.#admin : this.#sessions.get(namespace)!
    try {
      const reply = session.execute(args.map(argument => Buffer.from(argument)))
      if (reply instanceof Promise) {
        reply.then(
          settled => settle('reply', copied(settled)),
          error => settle('error', error),
        )
      } else settle('reply', copied(reply as Reply))
    } catch (error) {
      settle('error', error)
    }
    return answer
  }

  /** Connects a client to the namespace. @returns what kept it from that, or null */
  connect(namespace: string, password: string): Error | null {
    if (this.#sessions.has(namespace)) return null
    const session = this.#open()
    this.#sessions.set(namespace, session)
    const answer = this.send(namespace, 'SELECT', namespace, ...(password === '' ? [] : [password]))
    if (answer.error !== null) this.#sessions.delete(namespace)
    return answer.error
  }

  disconnect(namespace: string): void {
    this.#sessions.get(namespace)?.close()
    this.#sessions.delete(namespace)
  }

  /** Settles with true when all were answered, with false when the machine is gone. @throws when one never is */
  async settled(answers: readonly Answer[], hasEnded: () => boolean): Promise<boolean> {
    const waits = answers.map(answer => new Promise<void>(resolve => answer.whenSettled(resolve)))
    return (await untilSettled(Promise.all(waits), this.clock, hasEnded)) !== null
  }

  /** Ends as a server does that is told to. */
  async close(): Promise<void> {
    await untilSettled(this.namespaces[Symbol.asyncDispose](), this.clock, () => false)
  }

  /** All that lives in a namespace, by SCAN and GET. @throws when something cannot be read */
  async contentsOf(namespace: string): Promise<Contents> {
    const contents: Contents = new Map()
    const call = async (...args: readonly (string | Buffer)[]) => {
      const answer = this.send(namespace, ...args)
      await this.settled([answer], () => false)
      return answer
    }
    for (let cursor: Buffer | null = null; ; ) {
      const page = await call('SCAN', ...(cursor === null ? [] : [cursor]))
      if (page.error?.message === 'No more data') return contents
      if (page.error !== null) throw page.error
      const [next, entries] = page.reply as [Buffer, [Buffer, number, number][]]
      for (const [key, valueBytes, timestampSeconds] of entries) {
        const value = await call('GET', key)
        if (value.error !== null) throw value.error
        if (value.reply === null) throw new Error(`SCAN named ${key.toString('hex')}, which GET does not find`)
        contents.set(key.toString('hex'), { digest: digest(value.reply as Buffer), valueBytes, timestampSeconds })
      }
      cursor = next
    }
  }
}

/** The value as the reference keeps it. */
export function referenceValue(value: Buffer): ReferenceValue {
  const text = digest(value)
  return { digest: text, valueBytes: value.length, timestampSeconds: Number(text.split(':')[1]) >>> 1 }
}

/** Lets turns of the loop pass, then time, until the promise settles. @returns null when the machine is gone before that */
async function untilSettled<T>(promise: Promise<T>, clock: ManualClock, hasEnded: () => boolean): Promise<T | null> {
  let isSettled = false
  promise.then(
    () => (isSettled = true),
    () => (isSettled = true),
  )
  for (let turn = 0; !isSettled; turn++) {
    if (hasEnded()) return null
    if (turn < 60) await new Promise(resolve => setImmediate(resolve))
    else await clock.advance(500)
    if (turn > patienceMs / 500) throw new Error('it hangs')
  }
  return promise
}

/** What is handed out may be borrowed. */
function copied(reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return Buffer.from(reply)
  return Array.isArray(reply) ? reply.map(copied) : reply
}
