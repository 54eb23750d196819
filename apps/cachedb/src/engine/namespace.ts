import type { NamespacePosition, SegmentInfo } from '@qsfs/protocol/cachedb-commands'
import { SegmentUnavailable } from '../errors.ts'
import { StorageError } from '../segment/storage.ts'
import type { CompactionCounts } from './compaction/counts.ts'
import type { EngineContext } from './context.ts'
import type { DirtySegments } from './dirty.ts'
import { dropNamespace } from './dropped.ts'
import { Catalog } from './keydir/catalog.ts'
import type { Survey } from './metrics/survey.ts'
import { NamespaceCut } from './points/namespace-cut.ts'
import type { PointNamespace } from './points/point-format.ts'
import { type RawEntry, readRawEntry } from './raw-entry.ts'
import { type OpenedNamespace, type OpenOptions, recover } from './recovery/recovery.ts'
import type { EntryPlace } from './scan/cursor.ts'
import { History } from './scan/history.ts'
import { type ScanPage, Walks } from './scan/walks.ts'
import { dataPath, hintPath } from './shelf/segment.ts'
import type { Shelf } from './shelf/shelf.ts'
import { type Cold, ValueReader } from './value-reader.ts'
import { Changes } from './writer/changes.ts'
import { flushSegments } from './writer/flushing.ts'
import type { Writer } from './writer/writer.ts'

export type MaybePromise<T> = T | Promise<T>
export type KeyMode = 'user' | 'sequential'

/** What is kept of a namespace beside its values. */
export interface NamespaceSettings {
  readonly mode: KeyMode
  /** Quota of live payload bytes, 0 = none. */
  readonly maxBytes: number
  readonly public: boolean
  readonly worm: boolean
  /** In clear, '' = none: 0-db's SELECT SECURE cannot be answered from a hash. */
  readonly password: string
}

export interface NamespaceInfo {
  readonly entries: number
  readonly dataBytes: number
  readonly keydirBytes: number
  /** Next sequential id; in user mode the number of inserts seen. */
  readonly nextId: number
  readonly activeSegmentId: number
  readonly activeBytes: number
  readonly activePath: string
  readonly activeHintPath: string
  readonly freeBytes: number
  /** Files beside the segments that hold what starts took off, and their bytes. */
  readonly cutFiles: number
  readonly cutBytes: number
  readonly compaction: CompactionCounts
  /** Why it takes no writes; null while it does. */
  readonly readOnlyReason: string | null
}

export interface NamespaceOptions {
  /** Settings that are the config's, not the disk's. */
  readonly override?: Partial<NamespaceSettings>
  /** Entries that were appended, and synced, in this process before the namespace was loaded again. */
  readonly appendedBefore?: number
}

const syncIntervalMs = 1_000
/** One namespace: the single writer of its directory, owner of its segments and its keydir.
 *  Errors that a client may see are CommandErrors (errors.ts); anything else is a bug or `Internal Error`.
 *  Buffers passed in are borrowed until the call returns; buffers handed out are never changed. */
export class Namespace implements AsyncDisposable {
  readonly name: string
  readonly directory: string
  /** Pinned namespaces are never evicted and may use the room reserved for transactions. */
  readonly pinned: boolean
  readonly walks: Walks
  readonly history: History
  readonly #context: EngineContext
  readonly #shelf: Shelf
  readonly #writer: Writer
  readonly #changes: Changes
  readonly #values: ValueReader
  readonly #override: Partial<NamespaceSettings>
  readonly #appendedBefore: number
  #settings: NamespaceSettings
  #ended = false

  private constructor(
    name: string,
    { shelf, writer }: OpenedNamespace,
    { override, appendedBefore }: Required<NamespaceOptions>,
  ) {
    this.name = name
    this.directory = shelf.directory
    this.pinned = shelf.pinned
    this.#context = shelf.context
    this.#shelf = shelf
    this.#writer = writer
    this.#changes = new Changes(writer, () => this.#settings)
    this.#values = new ValueReader(writer, this.incarnation)
    this.walks = new Walks(writer)
    this.history = new History(this.walks, this.#values)
    this.#override = override
    this.#appendedBefore = appendedBefore
    this.#settings = { ...this.storedSettings, ...override }
    shelf.context.room.evictor.add(shelf)
    shelf.context.compactor.add(name, writer)
    if (shelf.context.limits.fsync === 'interval') this.#syncLater()
  }

  /** Opens the namespace in `directory`, recovering what is there; makes it with `initial` when there is none.
   *  Closed segments that are not stored are owed their store hook at once. */
  static async open(
    name: string,
    directory: string,
    initial: NamespaceSettings,
    { override = {}, appendedBefore = 0, ...options }: OpenOptions & NamespaceOptions,
    context: EngineContext,
  ): Promise<Namespace> {
    return new Namespace(name, await recover(directory, initial, options, context), { override, appendedBefore })
  }

  get settings(): NamespaceSettings {
    return this.#settings
  }

  /** Without what the server's config says instead. */
  get storedSettings(): NamespaceSettings {
    return this.#shelf.manifest.state.settings!
  }

  /** 16 hex digits, random per creation (and per FLUSH). */
  get incarnation(): string {
    return this.#shelf.manifest.state.incarnation.toString('hex')
  }

  get isClosed(): boolean {
    return this.#ended
  }

  /** Durably: nothing of it comes back. */
  get isDropped(): boolean {
    return this.#ended && this.#shelf.manifest.state.dropping
  }

  /** Nothing was ever inserted. */
  get isFresh(): boolean {
    return this.#writer.nextId === 0
  }

  /** Durable when it settles. `mode` may change only while `isFresh`. */
  async update(settings: NamespaceSettings): Promise<void> {
    const { mode } = this.settings
    this.#shelf.manifest.append({ type: 'settings', ...settings })
    this.#settings = { ...settings, ...this.#override }
    if (settings.mode !== mode) this.#writer.catalog = this.#emptyCatalog(settings.mode)
    await this.#shelf.manifest.sync()
  }

  /** SET. In the kernel when it returns; durable after `sync`.
   *  @returns the key (sequential: the 8 bytes of the id; user: as given), null when the value was already there
   *  @throws KeyRefused, NamespaceFull, CacheFull, NamespaceReadOnly */
  put(key: Buffer, value: Buffer, timestampSeconds?: number): Buffer | null {
    return this.#changes.put(key, value, timestampSeconds, { atOnce: true }).stored
  }

  /** DEL. @throws KeyRefused, CacheFull, NamespaceReadOnly */
  delete(key: Buffer, timestampSeconds?: number): void {
    this.#changes.delete(key, timestampSeconds, { atOnce: true })
  }

  /** As `put`, in the kernel when it settles: shares one write with what else changes in this turn of the event loop. Whatever
   *  looks at the namespace meanwhile finds it there. Throws as `put`, also as a rejection. */
  putInBatch(key: Buffer, value: Buffer, timestampSeconds?: number): MaybePromise<Buffer | null> {
    const { stored, written } = this.#changes.put(key, value, timestampSeconds, { atOnce: false })
    return written === undefined ? stored : written.then(() => stored)
  }

  /** As `delete`, in the kernel when it settles. */
  deleteInBatch(key: Buffer, timestampSeconds?: number): MaybePromise<void> {
    return this.#changes.delete(key, timestampSeconds, { atOnce: false })
  }

  /** null when the key does not live. `cold` says what an absent segment means: an error at once, or waiting for its restore;
   *  `atOnce` whether the loop may be held up for a read from the page cache.
   *  @throws ColdSegment, SegmentUnavailable, also as a rejection */
  get(
    key: Buffer,
    { cold, atOnce = true }: { readonly cold: Cold; readonly atOnce?: boolean },
  ): MaybePromise<Buffer | null> {
    const location = this.#writer.find(key)
    return location === null ? null : this.#values.get(key, location, cold, atOnce)
  }

  /** A part of the value; shorter or empty at its end. */
  getRange(
    key: Buffer,
    offsetBytes: number,
    lengthBytes: number,
    options: { readonly cold: Cold },
  ): MaybePromise<Buffer | null> {
    const cut = (value: Buffer | null) => value?.subarray(offsetBytes, offsetBytes + lengthBytes) ?? null
    // The checksum covers the whole value, so all of it is read.
    const value = this.get(key, options)
    return value instanceof Promise ? value.then(cut) : cut(value)
  }

  /** 0-db's CHECK: 1 good, 0 the checksum differs, -1 unreadable, null when the key does not live. */
  async check(key: Buffer): Promise<1 | 0 | -1 | null> {
    const location = this.#catalog.find(key)
    if (location === null) return null
    const segment = this.#shelf.get(location.segmentId)
    try {
      if (segment.isLocal && !this.#shelf.noticeLoss(segment))
        return (await this.#shelf.verify(segment, key, location)) ? 1 : 0
      await this.#values.read(key, 'wait')
      return 1
    } catch (error) {
      if (error instanceof SegmentUnavailable || error instanceof StorageError) return -1
      throw error
    }
  }

  /** Without touching a file: null when the key does not live. */
  stat(key: Buffer): { readonly valueBytes: number; readonly timestampSeconds: number } | null {
    return this.#writer.find(key)
  }

  /** Live entries in append order, strictly behind `after`, for up to `budgetMs` and at least one; `backward`: against the append
   *  order, strictly before the cursor. null: no more data. Others are served meanwhile.
   *  @throws KeyRefused 'Invalid key format' */
  scan(cursor: Buffer | null, budgetMs: number, { backward = false } = {}): Promise<ScanPage | null> {
    return backward ? this.walks.backward(cursor, budgetMs) : this.walks.forward(cursor, budgetMs)
  }

  /** DATA RAW. @throws Refused with 0-db's texts */
  rawEntry(place: EntryPlace): Promise<RawEntry> {
    this.#writer.writePending()
    return readRawEntry(this.#shelf, place)
  }

  /** Everything executed before the call is on disk when it settles; concurrent calls share one sync.
   *  @throws NamespaceReadOnly */
  async sync(): Promise<NamespacePosition> {
    await this.#writer.sync()
    return this.position
  }

  get position(): NamespacePosition {
    this.#writer.writePending()
    return {
      instance: this.#context.instance,
      nextId: this.settings.mode === 'sequential' ? this.#writer.nextId : 0,
      appended: this.#appendedBefore + this.#writer.appendedCount,
      synced: this.#appendedBefore + this.#writer.syncedCount,
      incarnation: this.incarnation,
    }
  }

  /** Brings an absent segment back; settles when its values can be read. Joined by concurrent calls.
   *  @throws SegmentUnavailable */
  async warm(segmentId: number): Promise<void> {
    const segment = this.#shelf.find(segmentId)
    // One that died meanwhile holds nothing to wait for: the reader looks its key up again.
    if (segment !== undefined && !segment.isLocal) await this.#shelf.restore(segment)
  }

  /** Settles when no hook brings a file back any more. */
  restoresEnded(): Promise<void> {
    return this.#shelf.restoresEnded()
  }

  /** NSJUMP: closes the open segment, even an empty one. */
  jump(): void {
    this.#writer.rotate()
  }

  /** Drops every value and starts again at id 0, settings kept. */
  async flush(): Promise<void> {
    await flushSegments(this.#writer, this.#emptyCatalog(this.settings.mode))
  }

  /** Its part of a recovery point, as it is now: the open segment ends, unless it is empty.
   *  @throws StorageError, NamespaceReadOnly; nothing is cut then */
  cut(): NamespaceCut {
    return NamespaceCut.take(this.name, this.#shelf, this.#writer)
  }

  /** The same part after a restart; null when something of it is gone. */
  resumeCut(part: PointNamespace): NamespaceCut | null {
    return NamespaceCut.resume(this.#shelf, part)
  }

  /** The number of the last recovery point that was published with it; 0: none. */
  get lastPoint(): number {
    return this.#shelf.manifest.state.point
  }

  info(): NamespaceInfo {
    const { active } = this.#writer
    return {
      entries: this.#catalog.count,
      dataBytes: this.#catalog.dataBytes,
      keydirBytes: this.#catalog.memoryBytes,
      nextId: this.#writer.nextId,
      activeSegmentId: active.segmentId,
      activeBytes: active.sizeBytes,
      activePath: dataPath(this.directory, active.segmentId),
      activeHintPath: hintPath(this.directory, active.segmentId),
      freeBytes: this.#context.storage.freeBytes(this.directory),
      cutFiles: this.#shelf.cuts.count,
      cutBytes: this.#shelf.cuts.bytes,
      compaction: this.#shelf.compaction,
      readOnlyReason: this.#writer.readOnlyReason,
    }
  }

  surveyFor(survey: Survey): void {
    survey.add(this.#shelf.all(), this.#catalog, this.#writer.readOnlyReason !== null)
  }

  /** Segments that lost a live value since the list was last cleared. */
  get dirty(): DirtySegments {
    return this.#shelf.dirty
  }

  segments(): readonly SegmentInfo[] {
    this.#writer.writePending()
    return this.#shelf.all().map(segment => segment.info())
  }

  /** Records that it is dropped, then removes it; its objects' deletion goes on by itself, also after a restart. Ends the namespace.
   *  @throws StorageError; when it `isDropped` then, only what is left of its files is still to be removed (`finishDrop`) */
  async drop(): Promise<void> {
    this.#shelf.manifest.append({ type: 'dropping' })
    try {
      await this.#shelf.manifest.sync()
    } catch (error) {
      // The next start may find it dropped: nothing may be promised any more.
      this.#writer.turnReadOnly('whether it is dropped is not known', error)
      throw error
    }
    this.#end()
    this.#shelf.stop()
    this.#shelf.manifest[Symbol.dispose]()
    // A file that arrives late would lie in the way of the next namespace of this name; an object that is made late is owed its deletion.
    await Promise.all([this.#shelf.restoresEnded(), this.#shelf.storesEnded()])
    await dropNamespace(this.directory, this.#shelf.manifest.state, this.#context)
  }

  /** Syncs and closes. Store hooks under way are left to finish or die; they are owed again at the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return
    this.#end()
    try {
      if (this.#writer.readOnlyReason === null) await this.#writer.finish()
    } finally {
      this.#shelf.stop()
      this.#shelf.manifest[Symbol.dispose]()
    }
  }

  get #catalog(): Catalog {
    return this.#writer.catalog
  }

  #end(): void {
    this.#writer.writePending()
    this.#ended = true
    this.#context.room.evictor.remove(this.#shelf)
    this.#context.compactor.remove(this.#writer)
  }

  #emptyCatalog(mode: KeyMode): Catalog {
    return new Catalog(mode, this.#context.random(4).readUInt32LE(0), this.#shelf.lifeOf, this.#shelf.onLoss)
  }

  #syncLater(): void {
    this.#context.clock.schedule(syncIntervalMs, () => {
      if (this.#ended) return
      // A failure turned the namespace read-only and was logged there.
      this.#writer.sync().then(
        () => this.#syncLater(),
        () => undefined,
      )
    })
  }
}
