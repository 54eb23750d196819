import { zdbCrc } from '@qsfs/bytes/checksum'
import type { NamespacePosition, SegmentInfo } from '@qsfs/protocol/cachedb-commands'
import { ColdSegment, KeyNotFound, KeyRefused, NamespaceFull, SegmentUnavailable } from '../errors.ts'
import { StorageError } from '../segment/storage.ts'
import type { EngineContext } from './context.ts'
import type { DirtySegments } from './dirty.ts'
import { dropNamespace } from './dropped.ts'
import { Catalog } from './keydir/catalog.ts'
import type { EntryLocation } from './keydir/keydir.ts'
import { encodeId } from './keydir/keydir-sequential.ts'
import { type OpenedNamespace, recover } from './recovery/recovery.ts'
import { ScanCursor } from './scan.ts'
import { dataPath, hintPath, type Segment } from './shelf/segment.ts'
import type { Shelf } from './shelf/shelf.ts'
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
}

export interface ScanPage {
  /** 0-db's 17 bytes, of the last entry returned. */
  readonly cursor: Buffer
  readonly entries: readonly { readonly key: Buffer; readonly valueBytes: number; readonly timestampSeconds: number }[]
}

const nothing = Buffer.alloc(0)
const syncIntervalMs = 1_000
/** A value whose segment was evicted again this often between its restore and its read is given up. */
const readAttemptsMax = 5

type Cold = 'fail' | 'wait'

/** One namespace: the single writer of its directory, owner of its segments and its keydir.
 *  Errors that a client may see are CommandErrors (errors.ts); anything else is a bug or `Internal Error`.
 *  Buffers passed in are borrowed until the call returns; buffers handed out are never changed. */
export class Namespace implements AsyncDisposable {
  readonly name: string
  readonly directory: string
  /** Pinned namespaces are never evicted and may use the room reserved for transactions. */
  readonly pinned: boolean
  readonly #context: EngineContext
  readonly #shelf: Shelf
  readonly #writer: Writer
  readonly #scan: ScanCursor
  /** Of places in the value cache: another namespace of the same name is another one. */
  readonly #placePrefix: string
  #ended = false

  private constructor(name: string, { shelf, writer }: OpenedNamespace) {
    this.name = name
    this.directory = shelf.directory
    this.pinned = shelf.pinned
    this.#context = shelf.context
    this.#shelf = shelf
    this.#writer = writer
    this.#scan = new ScanCursor(writer)
    this.#placePrefix = `${this.incarnation}.`
    shelf.context.room.evictor.add(shelf)
    if (shelf.context.limits.fsync === 'interval') this.#syncLater()
  }

  /** Opens the namespace in `directory`, recovering what is there; makes it with `initial` when there is none.
   *  Closed segments that are not stored are owed their store hook at once. */
  static async open(
    name: string,
    directory: string,
    initial: NamespaceSettings,
    { pinned }: { readonly pinned: boolean },
    context: EngineContext,
  ): Promise<Namespace> {
    return new Namespace(name, await recover(directory, initial, pinned, context))
  }

  get settings(): NamespaceSettings {
    return this.#shelf.manifest.state.settings!
  }

  /** 16 hex digits, random per creation (and per FLUSH). */
  get incarnation(): string {
    return this.#shelf.manifest.state.incarnation.toString('hex')
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
    if (settings.mode !== mode) this.#writer.catalog = this.#emptyCatalog(settings.mode)
    await this.#shelf.manifest.sync()
  }

  /** SET. In the kernel when it returns; durable after `sync`.
   *  @returns the key (sequential: the 8 bytes of the id; user: as given), null when the value was already there
   *  @throws KeyRefused, NamespaceFull, CacheFull, NamespaceReadOnly */
  put(key: Buffer, value: Buffer, timestampSeconds = this.#nowSeconds()): Buffer | null {
    const location = this.#catalog.find(key)
    if (this.settings.worm && location !== null) throw new KeyRefused('Namespace is protected by worm mode')
    const { maxBytes } = this.settings
    if (maxBytes > 0 && this.#catalog.dataBytes + value.length > maxBytes + (location?.valueBytes ?? 0))
      throw new NamespaceFull()
    const stored = this.#keyToStore(key, location)
    if (location !== null && this.#isUnchanged(key, value, location)) return null
    this.#writer.append(stored, value, timestampSeconds, 'value', this.pinned ? 'reserved' : 'data')
    return stored
  }

  /** DEL. @throws KeyNotFound, KeyRefused, CacheFull, NamespaceReadOnly */
  delete(key: Buffer, timestampSeconds = this.#nowSeconds()): void {
    if (this.#catalog.find(key) === null) throw new KeyNotFound()
    if (this.settings.worm) throw new KeyRefused('Cannot delete a key when namespace is in worm mode')
    this.#writer.append(key, nothing, timestampSeconds, 'deletion', 'reserved')
  }

  /** null when the key does not live. `cold` says what an absent segment means: an error at once, or waiting for its restore.
   *  @throws ColdSegment, SegmentUnavailable, also as a rejection */
  get(key: Buffer, { cold }: { readonly cold: Cold }): MaybePromise<Buffer | null> {
    const location = this.#catalog.find(key)
    if (location === null) return null
    const segment = this.#shelf.get(location.segmentId)
    const cached = this.#context.values.get(this.#placeOf(location))
    if (cached !== null) {
      segment.lastReadMs = this.#context.clock.monotonicMs()
      return cached
    }
    // What was just written is in the page cache: a read at once is cheaper than a trip to the thread pool.
    const value = segment.state === 'open' ? this.#shelf.readSync(segment, key, location) : null
    return value ?? this.#read(key, cold)
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
      if (segment.isLocal) return (await this.#shelf.verify(segment, key, location)) ? 1 : 0
      await this.#read(key, 'wait')
      return 1
    } catch (error) {
      if (error instanceof SegmentUnavailable || error instanceof StorageError) return -1
      throw error
    }
  }

  /** Without touching a file: null when the key does not live. */
  stat(key: Buffer): { readonly valueBytes: number; readonly timestampSeconds: number } | null {
    return this.#catalog.find(key)
  }

  /** Live entries in append order, strictly behind `after`, for up to `budgetMs` and at least one. null: no more data.
   *  @throws KeyRefused 'Invalid key format' */
  scan(after: Buffer | null, budgetMs: number): ScanPage | null {
    return this.#scan.next(after, budgetMs)
  }

  /** Everything executed before the call is on disk when it settles; concurrent calls share one sync.
   *  @throws NamespaceReadOnly */
  async sync(): Promise<NamespacePosition> {
    await this.#writer.sync()
    return this.position
  }

  get position(): NamespacePosition {
    return {
      instance: this.#context.instance,
      nextId: this.settings.mode === 'sequential' ? this.#writer.nextId : 0,
      appended: this.#writer.appendedCount,
      synced: this.#writer.syncedCount,
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

  /** NSJUMP: closes the open segment, even an empty one. */
  jump(): void {
    this.#writer.rotate()
  }

  /** Drops every value and starts again at id 0, settings kept. */
  async flush(): Promise<void> {
    await flushSegments(this.#writer, this.#emptyCatalog(this.settings.mode))
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
    }
  }

  /** Segments that lost a live value since the list was last cleared. */
  get dirty(): DirtySegments {
    return this.#shelf.dirty
  }

  segments(): readonly SegmentInfo[] {
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
    // A file that arrives late would lie in the way of the next namespace of this name.
    await this.#shelf.restoresEnded()
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
    this.#ended = true
    this.#context.room.evictor.remove(this.#shelf)
  }

  /** 0-db's rules of keys. @throws KeyRefused */
  #keyToStore(key: Buffer, location: EntryLocation | null): Buffer {
    if (this.settings.mode === 'user') {
      if (key.length === 0) throw new KeyRefused('Invalid argument, key needed')
      return key
    }
    if (key.length === 0) return encodeId(this.#writer.nextId)
    if (location === null) throw new KeyRefused('Invalid key, only update authorized')
    return key
  }

  /** 0-db's rule that a value already there is not written again. Never waits: what is not local counts as changed. */
  #isUnchanged(key: Buffer, value: Buffer, location: EntryLocation): boolean {
    if (value.length !== location.valueBytes) return false
    if (location.valueCrc >= 0 && location.valueCrc !== zdbCrc(value)) return false
    const segment = this.#shelf.get(location.segmentId)
    return segment.isLocal && this.#shelf.readSync(segment, key, location)?.equals(value) === true
  }

  /** Reads from where the key is now; while its segment is restored the key may move or go. */
  async #read(key: Buffer, cold: Cold): Promise<Buffer | null> {
    // The caller's bytes are borrowed for as long as the call took, not as long as the promise.
    const kept = Buffer.copyBytesFrom(key)
    for (let attempt = 0; attempt < readAttemptsMax; attempt++) {
      const location = this.#catalog.find(kept)
      if (location === null) return null
      const segment = this.#shelf.get(location.segmentId)
      segment.lastReadMs = this.#context.clock.monotonicMs()
      segment.pins++
      try {
        const value = segment.isLocal ? await this.#shelf.read(segment, kept, location) : null
        if (value !== null) {
          this.#context.values.add(this.#placeOf(location), value)
          return value
        }
        if (this.#ended) throw new SegmentUnavailable('the namespace is closed')
        if (segment.isLocal) await this.#damaged(segment, location)
        else if (cold === 'fail') throw new ColdSegment(segment.id)
        else await this.#shelf.restore(segment)
      } finally {
        segment.pins--
        this.#shelf.settled(segment)
      }
    }
    throw new SegmentUnavailable('the value could not be read while its segment came and went')
  }

  /** An entry fails its check. A stored segment is fetched again; of any other this was the only copy. */
  async #damaged(segment: Segment, { offsetBytes }: EntryLocation): Promise<void> {
    const { id: segmentId } = segment
    // Evicted or closed between look-up and read: look again.
    if (segment.activity === 'evicting' || segment.activity === 'burying') return
    this.#context.log.error('entry.damaged', {
      directory: this.directory,
      segmentId,
      offsetBytes,
      state: segment.state,
    })
    if (segment.state !== 'stored') throw new SegmentUnavailable(`an entry of segment ${segmentId} fails its check`)
    if (segment.activity !== null) return
    try {
      await this.#shelf.giveUpFile(segment, 'damaged')
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      throw new SegmentUnavailable(`segment ${segmentId} is damaged and cannot be given up: ${error.message}`, error)
    }
  }

  #emptyCatalog(mode: KeyMode): Catalog {
    return new Catalog(mode, this.#context.random(4).readUInt32LE(0), this.#shelf.lifeOf, this.#shelf.onLoss)
  }

  /** Unique over namespaces and segments; bytes of a segment never change. */
  #placeOf({ segmentId, offsetBytes }: EntryLocation): string {
    return `${this.#placePrefix}${segmentId}.${offsetBytes}`
  }

  #nowSeconds(): number {
    return Math.floor(this.#context.clock.nowMs() / 1000)
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
