import { delay } from '@qsfs/concurrency/clock'
import { NamespaceReadOnly } from '../../errors.ts'
import type { ActiveSegment } from '../../segment/active.ts'
import { entryBytes, FileHeader } from '../../segment/format.ts'
import type { Tombstone } from '../../segment/hint-format.ts'
import { StorageError } from '../../segment/storage.ts'
import type { Catalog } from '../keydir/catalog.ts'
import type { EntryLocation } from '../keydir/keydir.ts'
import { publishHint } from '../shelf/hint-file.ts'
import type { RoomClass } from '../shelf/room.ts'
import { isGone, type Segment } from '../shelf/segment.ts'
import type { Shelf } from '../shelf/shelf.ts'
import { GroupCommit } from './group-commit.ts'
import { openNext } from './opening.ts'
import { type EntryKind, Pending, type PendingEntry, pendingBytesMax, writtenAtOnceBytes } from './pending.ts'
import { salvage } from './salvage.ts'

/** A completed sync is noted in the manifest this often: what is damaged below a note is rot, beyond it a torn tail. */
const noteEveryMs = 1_000
const noteEveryBytes = 8 * 1024 * 1024
/** Between two attempts to publish the hint of a full segment. */
const closeAgainMs = 1_000

/** The single writer of a namespace: appends to the open segment, starts the next one when it is full, syncs. */
export class Writer {
  readonly shelf: Shelf
  #catalog: Catalog
  readonly #segmentBytesMax: number
  readonly #commit = new GroupCommit(() => this.#syncAll())
  readonly #salvages = new WeakMap<ActiveSegment, Promise<void>>()
  /** Full segments that are not yet known to be on disk, oldest first. */
  readonly #unsynced = new Set<ActiveSegment>()
  #active: ActiveSegment
  readonly #pending = new Pending()
  #isWriteDue = false
  #nextId: number
  /** Closes full segments one after the other, so that `closed` is recorded in their order. */
  #closing: Promise<void> = Promise.resolve()
  readonly #closingStuck = Promise.withResolvers<void>()
  /** Segments opened, and how many of them the manifest and the directory on disk know. */
  #openedCount = 1
  #namedCount = 0
  readonly #naming = new GroupCommit(() => this.#syncNewNames())
  #appendedCount = 0
  #syncedCount = 0
  #readOnlyReason: string | null = null
  #noted: { atMs: number; segmentId: number; bytes: number }

  constructor(shelf: Shelf, catalog: Catalog, active: ActiveSegment, nextId: number) {
    this.shelf = shelf
    this.#catalog = catalog
    this.#segmentBytesMax = shelf.context.limits.segmentBytesMax
    this.#active = active
    this.#nextId = nextId
    shelf.manifest.onFailure = failure => this.turnReadOnly(failure.message, failure)
    this.#noted = { atMs: shelf.context.clock.monotonicMs(), segmentId: active.segmentId, bytes: active.syncedBytes }
  }

  get active(): ActiveSegment {
    return this.#active
  }

  /** Of all that was executed: what is pending is written first. */
  get catalog(): Catalog {
    this.writePending()
    return this.#catalog
  }

  /** Of a namespace without a value. */
  set catalog(empty: Catalog) {
    this.#catalog = empty
  }

  /** The next sequential id, behind those of what is pending: counts values, as 0-db counts its index entries. */
  get nextId(): number {
    return this.#nextId + this.#pending.valueCount
  }

  get appendedCount(): number {
    return this.#appendedCount
  }

  get syncedCount(): number {
    return this.#syncedCount
  }

  get readOnlyReason(): string | null {
    return this.#readOnlyReason
  }

  /** As the catalog's, but what is pending may stay so when it says nothing of this key. */
  find(key: Buffer): EntryLocation | null {
    if (this.#pending.mayHave(key)) this.writePending()
    return this.#catalog.find(key)
  }

  /** Appends a value or a deletion: at once, or in one write with what else is appended in this turn of the event loop. A large value
   *  is written at once, with what is pending before it.
   *  @returns undefined when the kernel has it and the catalog knows it; else settles then, or rejects with what else is thrown
   *  @throws CacheFull, NamespaceReadOnly, StorageError; nothing has happened then */
  append(
    key: Buffer,
    value: Uint8Array,
    timestampSeconds: number,
    kind: EntryKind,
    { roomClass, atOnce }: { readonly roomClass: RoomClass; readonly atOnce: boolean },
  ): Promise<void> | undefined {
    const { room } = this.shelf.context
    this.requireWritable()
    const bytes = entryBytes(key.length, value.length)
    try {
      const usedBytes = this.#active.sizeBytes + this.#pending.bytes
      const isFull = usedBytes > FileHeader.sizeBytes && usedBytes + bytes > this.#segmentBytesMax
      // Refused with what is pending: a sequential id given behind those would leave a gap.
      const failure = isFull ? this.writePending() : null
      if (failure !== null) throw failure
      if (isFull || !this.#active.appendable) this.rotate()
      room.take(bytes, roomClass)
    } catch (error) {
      throw this.#refusal(error)
    }
    const { salt, sizeBytes: startBytes } = this.#active
    this.#pending.add(key, value, timestampSeconds, kind, { salt, startBytes })
    if (atOnce || value.length >= writtenAtOnceBytes || this.#pending.bytes >= pendingBytesMax) {
      const failure = this.writePending()
      if (failure !== null) throw failure
      return undefined
    }
    this.#writeAfterTurn()
    return this.#pending.written
  }

  /** Takes what is pending to the kernel now; the catalog knows it afterwards. What cannot be written is refused as a whole.
   *  @returns null, or what those hear who wait for it */
  writePending(): unknown {
    const pendingBytes = this.#pending.bytes
    if (pendingBytes === 0) return null
    let failure: unknown = null
    try {
      this.#active.appendEncoded(this.#pending.parts)
    } catch (error) {
      this.shelf.context.room.give(pendingBytes)
      failure = this.#refusal(error)
    }
    const { entries, written } = this.#pending.end()
    if (failure !== null) {
      written?.reject(failure)
      return failure
    }
    for (const entry of entries) this.#apply(entry)
    this.shelf.get(this.#active.segmentId).dataBytes = this.#active.sizeBytes
    written?.resolve()
    return null
  }

  /** Opens the next segment and lets the full one be closed behind it. The manifest names the new one before its first entry is
   *  appended; both reach the disk with the next sync, and a segment the manifest does not name is no segment.
   *  @throws StorageError, NamespaceReadOnly; the open segment stays open */
  rotate(): void {
    this.requireWritable()
    this.writePending()
    const full = this.#active
    const next = openNext(this.shelf, { previousEndBytes: full.sizeBytes, nextId: this.#nextId })
    this.#active = next
    this.#openedCount++
    this.#unsynced.add(full)
    full.finish()
    const nextId = this.#nextId
    this.#closing = this.#closing
      .then(() => this.#close(full, nextId))
      .catch(error => this.turnReadOnly(`closing a segment failed: ${error.message}`, error))
  }

  /** Everything appended before the call is on disk when it settles.
   *  @throws NamespaceReadOnly */
  sync(): Promise<void> {
    return this.#commit.run()
  }

  /** Syncs, and notes exactly where the open segment ends: the next start goes on with it. */
  async finish(): Promise<void> {
    await this.sync()
    // A full disk must not keep the process: the next start closes the rest.
    await Promise.race([this.#closing, this.#closingStuck.promise])
    const { segmentId, syncedBytes } = this.#active
    try {
      this.shelf.manifest.append({ type: 'synced', segmentId, syncedBytes })
      await this.shelf.manifest.sync()
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      // All is on disk; the next start reads it again.
      this.shelf.context.log.warn('manifest.sync_not_noted', { directory: this.shelf.directory, error })
    }
    // The directory may be another writer's from now on.
    this.#readOnlyReason = 'the namespace is closed'
  }

  /** Everything is dropped: appending goes on at id 0 in a segment of its own, that the caller recorded. */
  restart(active: ActiveSegment, catalog: Catalog): void {
    this.#catalog = catalog
    this.#unsynced.clear()
    this.#active = active
    this.#nextId = 0
    this.#openedCount++
  }

  /** @throws NamespaceReadOnly */
  requireWritable(): void {
    if (this.#readOnlyReason !== null) throw new NamespaceReadOnly(this.#readOnlyReason)
  }

  turnReadOnly(reason: string, error: unknown): void {
    if (this.#readOnlyReason !== null || this.shelf.signal.aborted) return
    this.#readOnlyReason = reason
    this.shelf.context.log.error('namespace.turned_read_only', { directory: this.shelf.directory, reason, error })
  }

  #writeAfterTurn(): void {
    if (this.#isWriteDue) return
    this.#isWriteDue = true
    setImmediate(() => {
      this.#isWriteDue = false
      this.writePending()
    })
  }

  /** An entry is in the kernel. Entry before keydir: a failed append leaves both as they were. */
  #apply(entry: PendingEntry): void {
    const { segmentId } = this.#active
    const { kind, offsetBytes, valueBytes, valueCrc, timestampSeconds } = entry
    const key = this.#pending.keyOf(entry)
    const tombstone = kind === 'deletion' ? this.#catalog.tombstoneOf(key, segmentId) : null
    this.#active.note({ key, offsetBytes, valueBytes, valueCrc, timestampSeconds, tombstone, copied: false })
    if (tombstone !== null) this.#catalog.delete(key, segmentId, tombstone)
    else this.#catalog.put(key, { segmentId, offsetBytes, valueBytes, timestampSeconds, valueCrc })
    this.#appendedCount++
    if (kind === 'value') this.#nextId++
  }

  #refusal(error: unknown): unknown {
    return error instanceof StorageError && error.full ? this.shelf.context.room.diskFull(error) : error
  }

  /** An entry of another segment, again: it is no new one, and keeps its time. */
  appendCopy(key: Uint8Array, value: Uint8Array, timestampSeconds: number, tombstone: Tombstone | null): void {
    this.writePending()
    const { segmentId } = this.#active
    const { offsetBytes, valueCrc } = this.#active.append(key, value, timestampSeconds, tombstone, { copied: true })
    this.shelf.context.room.add(entryBytes(key.length, value.length))
    this.shelf.get(segmentId).dataBytes = this.#active.sizeBytes
    if (tombstone !== null) this.#catalog.delete(key, segmentId, tombstone)
    else this.#catalog.copy(key, { segmentId, offsetBytes, valueBytes: value.length, timestampSeconds, valueCrc })
  }

  async #syncAll(): Promise<void> {
    this.requireWritable()
    this.writePending()
    const target = this.#appendedCount
    try {
      await this.syncNames()
      // What is appended while these are under way is not promised; segments before the open one are.
      await Promise.all([...this.#unsynced, this.#active].map(segment => this.makeDurable(segment)))
      // A salvage moved entries to a new segment.
      await this.syncNames()
    } catch (error) {
      this.turnReadOnly(`a sync failed: ${(error as Error).message}`, error)
      throw new NamespaceReadOnly(this.#readOnlyReason ?? 'the namespace is closed', error)
    }
    this.#syncedCount = Math.max(this.#syncedCount, target)
    this.#note()
  }

  /** Makes durable that the segments opened so far exist. */
  async syncNames(): Promise<void> {
    if (this.#namedCount < this.#openedCount) await this.#naming.run()
  }

  async #syncNewNames(): Promise<void> {
    const covered = this.#openedCount
    await Promise.all([this.shelf.manifest.sync(), this.shelf.context.storage.syncDirectory(this.shelf.directory)])
    this.#namedCount = covered
  }

  /** Full segments behind this one that are not yet known to be on disk. */
  unsyncedBehind({ segmentId }: ActiveSegment): readonly ActiveSegment[] {
    return [...this.#unsynced].filter(segment => segment.segmentId > segmentId)
  }

  /** Syncs a segment; when that fails, its unsynced entries are salvaged into another one, once. */
  async makeDurable(segment: ActiveSegment): Promise<void> {
    // One that becomes full while this sync is under way has a tail that only its last sync covers.
    const isFull = segment !== this.#active
    try {
      await segment.sync()
      if (isFull) this.#unsynced.delete(segment)
    } catch (error) {
      // Of a namespace that was closed or dropped meanwhile nothing is written any more.
      if (!(error instanceof StorageError) || this.shelf.signal.aborted) throw error
      // Flushed meanwhile: nobody wants its bytes, and its file may be closed.
      if (this.shelf.find(segment.segmentId) === undefined) return
      const rescue = this.#salvages.get(segment) ?? salvage(this, segment, error)
      this.#salvages.set(segment, rescue)
      await rescue
      this.#unsynced.delete(segment)
    }
  }

  /** Data durable, hint published, `closed` recorded: then the segment is immutable, and its store hook is owed. */
  async #close(full: ActiveSegment, nextId: number): Promise<void> {
    const { log } = this.shelf.context
    const segment = this.shelf.find(full.segmentId)
    // Flushed meanwhile.
    if (segment === undefined) return
    // The one before it could not be closed: behind a hole nothing may count.
    this.requireWritable()
    segment.activity = 'closing'
    await this.syncNames()
    await this.makeDurable(full)
    if (this.shelf.find(full.segmentId) !== segment) return
    if (full.sizeBytes < FileHeader.sizeBytes) return this.#void(segment)
    await this.#recordClosed(segment, full, nextId)
    if (isGone(segment)) return
    segment.activity = null
    // Appends are over and reads of an open segment are synchronous, so nobody uses this descriptor.
    segment.reader = null
    full[Symbol.dispose]()
    log.event('segment.closed', { directory: this.shelf.directory, segmentId: segment.id, sizeBytes: full.sizeBytes })
    this.shelf.owe(segment)
    this.shelf.settled(segment)
  }

  /** Its entries are on disk: a full disk only means that it is closed later. */
  async #recordClosed(segment: Segment, full: ActiveSegment, nextId: number): Promise<void> {
    const { sizeBytes: dataBytes, salt, entries } = full
    const { clock, log, storage } = this.shelf.context
    for (;;) {
      try {
        full.trim()
        await publishHint(this.shelf, segment, { dataBytes, nextId, entries })
        if (isGone(segment)) return storage.remove(segment.hintPath)
        segment.state = await this.shelf.recorded(segment, 'closed', {
          type: 'closed',
          segmentId: segment.id,
          dataBytes,
          salt,
        })
        segment.note = ''
        return
      } catch (error) {
        if (!(error instanceof StorageError)) throw error
        segment.note = `closing failed: ${error.message}`
        if (segment.isNews('segment.not_closed'))
          log.error('segment.not_closed', { directory: this.shelf.directory, segmentId: segment.id, error })
      }
      this.#closingStuck.resolve()
      await delay(clock, closeAgainMs, { signal: this.shelf.signal })
    }
  }

  /** Not even its header reached the disk. */
  async #void(segment: Segment): Promise<void> {
    segment.state = await this.shelf.recorded(segment, 'voided', {
      type: 'gone',
      segmentId: segment.id,
      objectId: null,
    })
    if (this.shelf.find(segment.id) !== segment) return
    this.shelf.dropFile(segment)
    this.shelf.remove(segment)
  }

  #note(): void {
    const { clock, log } = this.shelf.context
    const { segmentId, syncedBytes } = this.#active
    const nowMs = clock.monotonicMs()
    const movedBytes = segmentId === this.#noted.segmentId ? syncedBytes - this.#noted.bytes : syncedBytes
    if (movedBytes === 0 || (movedBytes < noteEveryBytes && nowMs - this.#noted.atMs < noteEveryMs)) return
    this.#noted = { atMs: nowMs, segmentId, bytes: syncedBytes }
    try {
      this.shelf.manifest.append({ type: 'synced', segmentId, syncedBytes })
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      // Only a lower bound: the sync itself is done.
      if (this.shelf.find(segmentId)?.isNews('manifest.sync_not_noted'))
        log.warn('manifest.sync_not_noted', { directory: this.shelf.directory, error })
    }
  }
}
