import { join } from 'node:path'
import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { HookEvent } from '@qsfs/protocol/hook-events'
import { Refused } from '../errors.ts'
import { type EngineContext, type KeyMode, Namespace, type NamespaceSettings } from './namespace.ts'
import { Ownership } from './ownership.ts'

/** 0-db keeps lock and freeze as one choice, in memory only. */
export type LockState = 'unlocked' | 'locked' | 'frozen'

/** A namespace and what this process keeps of it in memory. */
export interface HostedNamespace {
  readonly namespace: Namespace
  readonly ownership: Ownership
  lock: LockState
  /** True from NSDEL on: connections that use it are detached. */
  dropped: boolean
  /** Commands that failed because data could not be read or written, and when the last one did (0 = never). */
  dataErrors: number
  lastDataErrorSeconds: number
}

export interface NamespacesOptions {
  readonly dataDirectory: string
  /** Of new namespaces; 'mixed' makes them user-mode and lets NSSET change it while they are fresh. */
  readonly mode: KeyMode | 'mixed'
  readonly pinned: ReadonlySet<string>
}

export const defaultNamespace = 'default'
const nameBytesMax = 128

/** The set of namespaces: one directory each. A directory whose name begins with a dot is none. */
export class Namespaces implements AsyncDisposable {
  readonly options: NamespacesOptions
  readonly #context: EngineContext
  /** In NSLIST's order: a dropped one leaves a slot that the next one created takes. */
  readonly #slots: (HostedNamespace | null)[] = []
  readonly #byName = new Map<string, HostedNamespace>()
  /** Creating, changing and dropping one namespace happen one after the other. */
  readonly #changes = new KeyedMutex<string>()

  private constructor(options: NamespacesOptions, context: EngineContext) {
    this.options = options
    this.#context = context
  }

  /** Opens every namespace of the data directory, `default` first and made when missing. */
  static async open(options: NamespacesOptions, context: EngineContext): Promise<Namespaces> {
    await using opening = new AsyncDisposableStack()
    const namespaces = opening.use(new Namespaces(options, context))
    const found = context.storage
      .list(options.dataDirectory)
      .filter(({ name, isDirectory }) => isDirectory && name !== defaultNamespace && isAllowedName(name))
      .map(({ name }) => name)
      .sort()
    for (const name of [defaultNamespace, ...found]) namespaces.#add(await namespaces.#open(name))
    opening.move()
    return namespaces
  }

  get default(): HostedNamespace {
    return this.#byName.get(defaultNamespace)!
  }

  get(name: string): HostedNamespace | undefined {
    const hosted = this.#byName.get(name)
    return hosted?.dropped ? undefined : hosted
  }

  list(): readonly HostedNamespace[] {
    return this.#slots.filter(hosted => hosted !== null && !hosted.dropped) as readonly HostedNamespace[]
  }

  /** @throws Refused when the name is taken or not allowed */
  async create(name: string): Promise<void> {
    if (!isAllowedName(name) || name === defaultNamespace) throw new Refused('This name is not allowed')
    await this.#changes.run(name, async () => {
      if (this.#byName.has(name)) throw new Refused('This namespace is not available')
      this.#add(await this.#open(name))
    })
    void this.#context.hooks.event(HookEvent.namespaceCreated, [name])
  }

  /** Its connections are detached at once; its files go, then the promise settles. */
  async drop(name: string): Promise<void> {
    await this.#changes.run(name, async () => {
      const hosted = this.#byName.get(name)
      if (!hosted) throw new Refused("This namespace doesn't exists")
      hosted.dropped = true
      try {
        await hosted.namespace.drop()
      } catch (error) {
        hosted.dropped = false
        throw error
      }
      this.#byName.delete(name)
      this.#slots[this.#slots.indexOf(hosted)] = null
    })
    void this.#context.hooks.event(HookEvent.namespaceDeleted, [name])
  }

  /** Changes settings durably. `change` sees the settings as they are when its turn has come, and may refuse. */
  async update(hosted: HostedNamespace, change: (settings: NamespaceSettings) => NamespaceSettings): Promise<void> {
    const { namespace } = hosted
    await this.#changes.run(namespace.name, async () => {
      if (hosted.dropped) throw new Refused('Namespace not found')
      await namespace.update(change(namespace.settings))
    })
    this.updated(hosted)
  }

  /** Tells the hook, also of changes that are in memory only. */
  updated({ namespace }: HostedNamespace): void {
    void this.#context.hooks.event(HookEvent.namespaceUpdated, [namespace.name])
  }

  /** Syncs and closes them all. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.list().map(({ namespace }) => namespace[Symbol.asyncDispose]())
    const failed = (await Promise.allSettled(closing)).filter(result => result.status === 'rejected')
    if (failed.length > 0) {
      const reasons = failed.map(result => result.reason)
      throw new AggregateError(reasons, `closing namespaces failed: ${reasons.join('; ')}`)
    }
  }

  #open(name: string): Promise<Namespace> {
    const { dataDirectory, mode, pinned } = this.options
    const initial: NamespaceSettings = {
      mode: mode === 'sequential' ? 'sequential' : 'user',
      maxBytes: 0,
      public: true,
      worm: false,
      password: '',
    }
    return Namespace.open(name, join(dataDirectory, name), initial, { pinned: pinned.has(name) }, this.#context)
  }

  #add(namespace: Namespace): void {
    const hosted: HostedNamespace = {
      namespace,
      ownership: new Ownership(),
      lock: 'unlocked',
      dropped: false,
      dataErrors: 0,
      lastDataErrorSeconds: 0,
    }
    const free = this.#slots.indexOf(null)
    if (free < 0) this.#slots.push(hosted)
    else this.#slots[free] = hosted
    this.#byName.set(namespace.name, hosted)
  }
}

/** 0-db's rule (1 to 128 bytes, no slash), less what cannot be a directory of ours: dots in front, NUL. */
export function isAllowedName(name: string): boolean {
  return name !== '' && Buffer.byteLength(name) <= nameBytesMax && !name.startsWith('.') && !/[/\0]/.test(name)
}
