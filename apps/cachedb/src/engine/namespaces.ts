import { once } from 'node:events'
import { join } from 'node:path'
import { Backoff } from '@qsfs/concurrency/backoff'
import { delay } from '@qsfs/concurrency/clock'
import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { HookEvent } from '@qsfs/protocol/hook-events'
import { Refused, SegmentUnavailable } from '../errors.ts'
import { FormatError } from '../segment/format.ts'
import { StorageError } from '../segment/storage.ts'
import type { EngineContext } from './context.ts'
import { finishDrop } from './dropped.ts'
import { type KeyMode, Namespace, type NamespaceSettings } from './namespace.ts'
import { Ownership } from './ownership.ts'

/** 0-db keeps lock and freeze as one choice, in memory only. */
export type LockState = 'unlocked' | 'locked' | 'frozen'

/** A namespace and what this process keeps of it in memory. */
export interface HostedNamespace {
  /** Another one after a RELOAD: not to be kept. */
  namespace: Namespace
  /** While a RELOAD is under way: who uses the namespace waits for it. It stays, rejected, when that failed. */
  reloading: Promise<void> | null
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
  /** 0-db's index root, for directories that 0-db wrote. */
  readonly zdbIndexRoot?: string | undefined
  /** Settings of `default` that are the config's, not the disk's. */
  readonly defaultOverride?: Partial<NamespaceSettings>
}

export const defaultNamespace = 'default'
const nameBytesMax = 128
/** The start of the server waits this long for one namespace that fetches segments from the store, then goes on without it. */
const startWaitMs = 30_000
const waitsForStore = 'the namespace waits for the store: '
const openPauses = { firstMs: 1_000, maxMs: 60_000 }

/** The set of namespaces: one directory each. A directory whose name begins with a dot is none. */
export class Namespaces implements AsyncDisposable {
  readonly options: NamespacesOptions
  readonly #context: EngineContext
  /** In NSLIST's order: a dropped one leaves a slot that the next one created takes. */
  readonly #slots: (HostedNamespace | null)[] = []
  readonly #byName = new Map<string, HostedNamespace>()
  /** Creating, changing and dropping one namespace happen one after the other. */
  readonly #changes = new KeyedMutex<string>()
  /** Namespaces that are there and not open, and why: the store must give back what their start needs, or their disk is full or
   *  does not read them, or they are damaged. */
  readonly #waiting = new Map<string, string>()
  /** Those of them that wait for the store now. */
  readonly #fetching = new Set<string>()
  /** Those of which the log says that they cannot be opened. */
  readonly #refused = new Set<string>()
  readonly #stopping = new AbortController()

  private constructor(options: NamespacesOptions, context: EngineContext) {
    this.options = options
    this.#context = context
  }

  /** Opens every namespace of the data directory, `default` first and made when missing. One that needs the store while it does not
   *  answer, or that the disk refuses, is opened later, and one that is damaged not at all: the others are served meanwhile.
   *  @throws SegmentUnavailable, FormatError, StorageError when that one is `default` */
  static async open(options: NamespacesOptions, context: EngineContext): Promise<Namespaces> {
    await using opening = new AsyncDisposableStack()
    const namespaces = opening.use(new Namespaces(options, context))
    const found = context.storage
      .list(options.dataDirectory)
      .filter(({ name, isDirectory }) => isDirectory && name !== defaultNamespace && isAllowedName(name))
      .map(({ name }) => name)
      .sort()
    namespaces.#add(await namespaces.#open(defaultNamespace))
    for (const name of found) {
      const directory = join(options.dataDirectory, name)
      // All that a cut left of a drop, or of a creation that nobody was told of.
      if (context.storage.list(directory).length === 0) context.storage.removeDirectory(directory)
      else await namespaces.#openForStart(name)
    }
    opening.move()
    return namespaces
  }

  get context(): EngineContext {
    return this.#context
  }

  get default(): HostedNamespace {
    return this.#byName.get(defaultNamespace)!
  }

  /** @throws SegmentUnavailable when it is there and not open */
  get(name: string): HostedNamespace | undefined {
    this.#requireNotWaiting(name)
    const hosted = this.#byName.get(name)
    return hosted?.dropped ? undefined : hosted
  }

  /** How many cannot be opened before the store or the disk is well again. */
  get waitingCount(): number {
    return this.#waiting.size
  }

  /** Those that are loaded, whatever becomes of them. */
  opened(): readonly Namespace[] {
    return this.list().map(({ namespace }) => namespace)
  }

  list(): readonly HostedNamespace[] {
    return this.#slots.filter(hosted => hosted !== null && !hosted.dropped) as readonly HostedNamespace[]
  }

  /** @throws Refused when the name is taken or not allowed, SegmentUnavailable when it is there and not open */
  async create(name: string): Promise<void> {
    if (!isAllowedName(name) || name === defaultNamespace) throw new Refused('This name is not allowed')
    this.#requireNotWaiting(name)
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
      await hosted.reloading
      hosted.dropped = true
      try {
        await hosted.namespace.drop()
      } catch (error) {
        if (!hosted.namespace.isDropped) {
          hosted.dropped = false
          throw error
        }
        // It is gone for good; what is left of its files goes when the disk allows it.
        if (!this.#isRefused(name, error)) throw error
        void this.#openLater(name, Promise.resolve(false))
      }
      this.#byName.delete(name)
      this.#slots[this.#slots.indexOf(hosted)] = null
    })
    void this.#context.hooks.event(HookEvent.namespaceDeleted, [name])
  }

  /** Changes settings durably. `change` sees the settings as they are when its turn has come, and may refuse. */
  async update(hosted: HostedNamespace, change: (settings: NamespaceSettings) => NamespaceSettings): Promise<void> {
    await this.#changes.run(hosted.namespace.name, async () => {
      if (hosted.dropped) throw new Refused('Namespace not found')
      await hosted.reloading
      const { namespace } = hosted
      await namespace.update(change(namespace.storedSettings))
    })
    this.updated(hosted)
  }

  /** RELOAD: syncs the namespace, lets go of all that is in memory and recovers it from the disk. Its connections stay, ownership and
   *  lock too. A store hook under way is run again.
   *  @throws NamespaceReadOnly: then nothing has happened, as what a failed sync left is not to be trusted;
   *  SegmentUnavailable when it cannot be opened: then it stays closed until it is reloaded again */
  async reload(hosted: HostedNamespace): Promise<void> {
    const { name } = hosted.namespace
    await this.#changes.run(name, async () => {
      if (hosted.dropped) throw new Refused('Namespace not found')
      const reloading = this.#loadAgain(hosted)
      // Who waits for it hears of its failure; perhaps nobody does.
      reloading.catch(() => {})
      hosted.reloading = reloading
      try {
        await reloading
      } catch (error) {
        if (hosted.namespace.isClosed) this.#reloadLater(hosted)
        else hosted.reloading = null
        throw error
      }
      hosted.reloading = null
    })
    void this.#context.hooks.event(HookEvent.namespaceReloaded, [name])
  }

  /** Tells the hook, also of changes that are in memory only. */
  updated({ namespace }: HostedNamespace): void {
    void this.#context.hooks.event(HookEvent.namespaceUpdated, [namespace.name])
  }

  /** Syncs and closes them all. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new Error('the server ends'))
    const closing = this.list().map(async hosted => {
      await Promise.allSettled([hosted.reloading])
      await hosted.namespace[Symbol.asyncDispose]()
    })
    const failed = (await Promise.allSettled(closing)).filter(result => result.status === 'rejected')
    if (failed.length > 0) {
      const reasons = failed.map(result => result.reason)
      throw new AggregateError(reasons, `closing namespaces failed: ${reasons.join('; ')}`)
    }
  }

  #requireNotWaiting(name: string): void {
    const reason = this.#waiting.get(name)
    if (reason !== undefined) throw new SegmentUnavailable(reason)
  }

  /** Settles when it is open, or when the others shall not wait for it any longer. */
  async #openForStart(name: string): Promise<void> {
    this.#waiting.set(name, `${waitsForStore}its segments are being fetched`)
    const opening = this.#openOrWait(name)
    do {
      const inTime = delay(this.#context.clock, startWaitMs).then(() => null)
      const isOpen = await Promise.race([opening, inTime])
      if (isOpen) return
      if (isOpen === false) break
      // What is here is loaded, however long that takes: readiness is not announced before.
    } while (!this.#fetching.has(name))
    this.#context.log.warn('namespace.opens_later', { namespace: name, reason: this.#waiting.get(name) })
    void this.#openLater(name, opening)
  }

  /** false when it must be tried again. One that was dropped is no namespace any more, when the last of it is removed. */
  #openOrWait(name: string): Promise<boolean> {
    return this.#changes.run(name, async () => {
      try {
        if (await this.#isRemoved(name)) {
          this.#waiting.delete(name)
          return true
        }
        const namespace = await this.#open(name)
        if (this.#stopping.signal.aborted) await namespace[Symbol.asyncDispose]()
        else this.#add(namespace)
        this.#waiting.delete(name)
        return true
      } catch (error) {
        if (!this.#isRefused(name, error)) throw error
        // Damage does not go away by itself.
        return error instanceof FormatError
      }
    })
  }

  /** Whether there was one that is dropped, and nothing is left of it now. */
  async #isRemoved(name: string): Promise<boolean> {
    const { storage } = this.#context
    const directory = join(this.options.dataDirectory, name)
    if (await finishDrop(directory, this.#context)) return true
    if (storage.list(directory).length > 0) return false
    // It was finished but for the sync of its name.
    storage.removeDirectory(directory)
    await storage.syncDirectory(this.options.dataDirectory)
    return true
  }

  /** Whether the world kept a namespace from being opened; its clients are told what it was. */
  #isRefused(name: string, error: unknown): boolean {
    const isWaiting = error instanceof SegmentUnavailable
    if (!(isWaiting || error instanceof FormatError || error instanceof StorageError)) return false
    this.#waiting.set(
      name,
      isWaiting ? `${waitsForStore}${error.reason}` : `the namespace cannot be opened: ${error.message}`,
    )
    const fields = { namespace: name, reason: this.#waiting.get(name) }
    // Tried again for ever: said when it begins.
    if (this.#refused.has(name)) this.#context.log.debug('namespace.not_opened', fields)
    else this.#context.log.error('namespace.not_opened', fields)
    this.#refused.add(name)
    return true
  }

  async #openLater(name: string, first: Promise<boolean>): Promise<void> {
    const { clock, random, log } = this.#context
    const { signal } = this.#stopping
    const backoff = new Backoff({ ...openPauses, random })
    try {
      for (let opening = first; !(await opening); opening = this.#openOrWait(name))
        await delay(clock, backoff.next(), { signal })
      this.#refused.delete(name)
      if (this.#byName.has(name)) log.event('namespace.opened', { namespace: name })
    } catch (error) {
      if (signal.aborted) return
      log.error('namespace.not_opened', { namespace: name, error })
      this.#waiting.set(name, (error as Error).message)
    }
  }

  /** A full disk, or a store that does not answer, shall not keep it closed for longer than that lasts. */
  #reloadLater(hosted: HostedNamespace): void {
    this.#context.clock.schedule(openPauses.firstMs, () => {
      if (this.#stopping.signal.aborted || hosted.dropped || !hosted.namespace.isClosed) return
      // Its clients hear of a failure, and it leads here again.
      this.reload(hosted).catch(() => undefined)
    })
  }

  async #loadAgain(hosted: HostedNamespace): Promise<void> {
    const { namespace } = hosted
    const { name } = namespace
    const { appended } = namespace.position
    if (!namespace.isClosed) {
      await namespace.sync()
      await Promise.race([namespace.restoresEnded(), this.#whenStopping()])
      await namespace[Symbol.asyncDispose]()
    }
    if (this.#stopping.signal.aborted) throw new SegmentUnavailable('the server ends')
    try {
      hosted.namespace = await this.#open(name, { appendedBefore: appended })
    } catch (error) {
      if (!(error instanceof FormatError || error instanceof StorageError)) throw error
      throw new SegmentUnavailable(`the namespace cannot be opened: ${error.message}`, error)
    }
    hosted.dataErrors = 0
    hosted.lastDataErrorSeconds = 0
    this.#context.log.event('namespace.reloaded', { namespace: name })
  }

  #whenStopping(): Promise<unknown> {
    const { signal } = this.#stopping
    return signal.aborted ? Promise.resolve() : once(signal, 'abort')
  }

  #open(name: string, { appendedBefore = 0 } = {}): Promise<Namespace> {
    const { dataDirectory, mode, pinned, zdbIndexRoot = null, defaultOverride = {} } = this.options
    const options = {
      appendedBefore,
      pinned: pinned.has(name),
      override: name === defaultNamespace ? defaultOverride : {},
      zdb: { indexRoot: zdbIndexRoot, mode: mode === 'mixed' ? null : mode },
      onFetching: (isFetching: boolean) => void (isFetching ? this.#fetching.add(name) : this.#fetching.delete(name)),
    }
    return Namespace.open(name, join(dataDirectory, name), freshSettings(mode), options, this.#context)
  }

  #add(namespace: Namespace): void {
    const hosted: HostedNamespace = {
      namespace,
      reloading: null,
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

/** Of a namespace that nobody has changed. */
export function freshSettings(mode: KeyMode | 'mixed'): NamespaceSettings {
  return { mode: mode === 'sequential' ? 'sequential' : 'user', maxBytes: 0, public: true, worm: false, password: '' }
}

/** 0-db's rule (1 to 128 bytes, no slash), less what cannot be a directory of ours: dots in front, NUL. */
export function isAllowedName(name: string): boolean {
  return name !== '' && Buffer.byteLength(name) <= nameBytesMax && !name.startsWith('.') && !/[/\0]/.test(name)
}
