import assert from 'node:assert'
import { basename } from 'node:path'
import { Backoff } from '@qsfs/concurrency/backoff'
import { SingleFlight } from '@qsfs/concurrency/single-flight'
import type { SegmentState } from '@qsfs/protocol/cachedb-commands'
import { SegmentUnavailable } from '../../errors.ts'
import type { ManifestRecord } from '../../segment/manifest-format.ts'
import type { SegmentReader, ValuePlace } from '../../segment/reader.ts'
import { FileMissing, StorageError } from '../../segment/storage.ts'
import { type CompactionCounts, noCompaction } from '../compaction/counts.ts'
import type { EngineContext } from '../context.ts'
import { DirtySegments } from '../dirty.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { type SegmentEvent, transitionOf } from '../manifest/segment-state.ts'
import { Cuts } from '../recovery/cuts.ts'
import { bury } from './burying.ts'
import type { Neighbours, SegmentLife } from './life.ts'
import { restore } from './restoring.ts'
import { isGone, Segment } from './segment.ts'
import { keepStoring } from './storing.ts'

/** First and longest pause between two attempts of a hook. */
const storePauses = { firstMs: 1_000, maxMs: 300_000 }
/** A restore has somebody waiting, who shall notice soon that the store is well again. */
const restorePauses = { firstMs: 1_000, maxMs: 10_000 }

/** All segments of one namespace, and what is done with the closed ones: stored, evicted, restored, buried. */
export class Shelf {
  readonly directory: string
  readonly pinned: boolean
  readonly manifest: Manifest
  readonly context: EngineContext
  readonly cuts = new Cuts()
  readonly dirty = new DirtySegments()
  /** A client walks backward (RSCAN): until then compaction moves nothing forward past it. */
  compactionHeldUntilMs = 0
  readonly compaction: CompactionCounts = noCompaction()
  readonly #segments = new Map<number, Segment>()
  readonly #restores = new SingleFlight<number, void>()
  readonly #givingUp = new SingleFlight<number, void>()
  readonly #restoring = new Set<Promise<void>>()
  readonly #storing = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #background = new Set<Promise<void>>()
  /** Makes durable what was appended so far; null during recovery. */
  #syncAppended: (() => Promise<void>) | null = null

  constructor(directory: string, pinned: boolean, manifest: Manifest, context: EngineContext) {
    this.directory = directory
    this.pinned = pinned
    this.manifest = manifest
    this.context = context
  }

  /** Aborted when the namespace is closed. */
  get signal(): AbortSignal {
    return this.#stopping.signal
  }

  /** Recovery is under way: nothing is appended, stored, evicted or buried yet. */
  get isStarting(): boolean {
    return this.#syncAppended === null
  }

  add(facts: Pick<Segment, 'id' | 'state' | 'salt' | 'dataBytes' | 'objectId' | 'firstId'>): Segment {
    const { clock, random, room } = this.context
    const pauses = {
      store: new Backoff({ ...storePauses, random }),
      restore: new Backoff({ ...restorePauses, random }),
    }
    const segment = new Segment(this.directory, facts, { nowMs: clock.monotonicMs(), pauses })
    this.#segments.set(segment.id, segment)
    if (segment.isLocal) room.add(segment.dataBytes)
    return segment
  }

  find(segmentId: number): Segment | undefined {
    return this.#segments.get(segmentId)
  }

  get(segmentId: number): Segment {
    const segment = this.#segments.get(segmentId)
    assert(segment !== undefined, `no segment ${segmentId}`)
    return segment
  }

  /** Oldest first. */
  all(): readonly Segment[] {
    return [...this.#segments.values()]
  }

  /** What a segment must know of the others before it goes. */
  readonly neighbours: Neighbours = this.#neighbours()

  readonly lifeOf = (segmentId: number): SegmentLife => this.get(segmentId).life

  /** Until it is disposed of, none of these segments goes, whatever becomes of what it holds; those that are gone already are passed
   *  over. Their files may leave the disk. In memory only: it is asked for again after a start. */
  keepAlive(segmentIds: Iterable<number>): Disposable {
    const kept = [...segmentIds].map(id => this.find(id)).filter(segment => segment !== undefined)
    for (const segment of kept) segment.keepers++
    return {
      [Symbol.dispose]: () => {
        for (const segment of kept.splice(0)) {
          segment.keepers--
          if (this.find(segment.id) === segment) this.settled(segment)
        }
        this.context.compactor.press()
      },
    }
  }

  /** The first segment from this number on, or (-1) back. Numbers have few gaps: a walk over all costs what there are. */
  from(segmentId: number, step: 1 | -1): Segment | undefined {
    const oldestId: number = this.#segments.keys().next().value ?? Number.POSITIVE_INFINITY
    const newestId = this.manifest.state.lastSegmentId
    for (let id = step > 0 ? Math.max(segmentId, oldestId) : Math.min(segmentId, newestId); ; id += step) {
      if (id < oldestId || id > newestId) return undefined
      if (this.#segments.has(id)) return this.#segments.get(id)
    }
  }

  /** Durable first, then true: records the event; the caller makes the state it returns true, at once with what that means. */
  async recorded(segment: Segment, event: SegmentEvent, record: ManifestRecord | null): Promise<SegmentState> {
    this.signal.throwIfAborted()
    const { to, recorded } = transitionOf(segment.state, event)
    assert((record?.type ?? null) === recorded)
    if (record !== null) {
      this.manifest.append(record)
      await this.manifest.sync()
    }
    // Flushed meanwhile: then it is gone, whatever was recorded before.
    return this.#segments.get(segment.id) === segment ? to : 'gone'
  }

  /** Recovery is over: closed segments are owed their store hook, dead ones go. */
  start(syncAppended: () => Promise<void>): void {
    this.#syncAppended = syncAppended
    for (const segment of this.#segments.values()) {
      if (segment.state === 'closed') this.owe(segment)
      if (segment.lost) this.inBackground(this.restore(segment))
    }
    this.buryDead()
  }

  /** Stores a closed segment, for ever trying again. */
  owe(segment: Segment): void {
    this.context.compactor.press()
    if (!this.isStarting && this.context.hooks.configured) this.inBackground(keepStoring(this, segment))
  }

  /** The value, or null when it is not there, cannot be read or fails its check. For local segments only.
   *  @throws SegmentUnavailable when the file is there and cannot be opened: that says nothing about what is in it */
  async read(segment: Segment, key: Uint8Array, place: ValuePlace): Promise<Buffer | null> {
    const reader = this.#readerIfThere(segment)
    if (reader === null) return null
    try {
      return await reader.read(key, place)
    } catch (error) {
      return this.#notRead(segment, error)
    }
  }

  /** The same at once, blocking the loop; null also when the file cannot be opened. */
  readSync(segment: Segment, key: Uint8Array, place: ValuePlace): Buffer | null {
    try {
      return this.#reader(segment).readSync(key, place)
    } catch (error) {
      return this.#notRead(segment, error)
    }
  }

  /** Whether the entry of a local segment passes its check.
   *  @throws StorageError when it cannot be read */
  async verify(segment: Segment, key: Uint8Array, place: ValuePlace): Promise<boolean> {
    return (await this.#reader(segment).read(key, place)) !== null
  }

  /** Brings an absent or lost segment back. Joined by concurrent calls.
   *  @throws SegmentUnavailable */
  async restore(segment: Segment): Promise<void> {
    const restoring = this.#restores.run(segment.id, () => restore(this, segment))
    this.#restoring.add(restoring)
    try {
      await restoring
    } finally {
      this.#restoring.delete(restoring)
    }
  }

  /** An attempt to store a segment is under way until this settles. */
  async untilStored(attempt: Promise<void>): Promise<void> {
    this.#storing.add(attempt)
    try {
      await attempt
    } finally {
      this.#storing.delete(attempt)
    }
  }

  /** Settles when no hook writes to the directory any more. */
  async restoresEnded(): Promise<void> {
    await Promise.allSettled(this.#restoring)
  }

  /** Settles when it is known what the store hooks under way have made. */
  async storesEnded(): Promise<void> {
    await Promise.allSettled(this.#storing)
  }

  /** A stored segment whose local file leaves, is missing or damaged: from now on it is absent. Joined by concurrent calls.
   *  @throws StorageError */
  giveUpFile(segment: Segment, event: 'evicted' | 'damaged'): Promise<void> {
    return this.#givingUp.run(segment.id, () => this.#giveUpFile(segment, event))
  }

  async #giveUpFile(segment: Segment, event: 'evicted' | 'damaged'): Promise<void> {
    const { id: segmentId, objectId } = segment
    assert(objectId !== null && segment.activity === null)
    segment.activity = 'evicting'
    const record = () => this.recorded(segment, event, { type: 'absent', segmentId, objectId })
    try {
      segment.state = await record().catch(error => {
        if (!(error instanceof StorageError && error.full)) throw error
        // No room for the record. A stored segment may lose its file first: a start that misses it says the same.
        this.#closeReader(segment)
        this.context.storage.remove(segment.dataPath)
        return record()
      })
      if (isGone(segment)) return
      this.dropFile(segment)
      if (event === 'evicted') {
        this.context.metrics.evictions.add()
        this.context.metrics.evictedBytes.add(segment.dataBytes)
      }
      this.context.log.event(event === 'evicted' ? 'segment.evicted' : 'segment.damaged', {
        segmentId,
        directory: this.directory,
      })
    } finally {
      segment.activity = null
    }
  }

  /** Whether somebody took the only file of a closed segment away: then it is lost, and only the hook can bring it back. */
  noticeLoss(segment: Segment): boolean {
    const { hooks, log, storage } = this.context
    const isOwn = hooks.configured && segment.state === 'closed' && segment.isLocal && segment.activity === null
    if (!isOwn || storage.sizeBytes(segment.dataPath) !== null) return false
    this.#closeReader(segment)
    this.#giveRoom(segment)
    segment.lost = true
    segment.retryAtMs = 0
    log.warn('segment.missing', { directory: this.directory, segmentId: segment.id, state: segment.state })
    return true
  }

  /** Unlinks a segment's data file and gives its room back. Reads under way finish. */
  dropFile(segment: Segment): void {
    this.#closeReader(segment)
    this.context.storage.remove(segment.dataPath)
    this.#giveRoom(segment)
    segment.isDamaged = false
    if (!segment.life.isCopied) return
    this.compaction.freedBytes += segment.dataBytes
    this.context.metrics.compactionFreedBytes.add(segment.dataBytes)
  }

  /** Lets go of a segment that the manifest already calls gone. Whatever is under way with it finds it so. */
  forget(segment: Segment): void {
    this.#closeReader(segment)
    if (segment.isLocal) this.#giveRoom(segment)
    segment.state = 'gone'
    this.#segments.delete(segment.id)
    this.dirty.remove(segment.id)
  }

  /** Takes a segment that is gone off the shelf; deletions that were kept because of it may be over. */
  remove(segment: Segment): void {
    this.#segments.delete(segment.id)
    this.dirty.remove(segment.id)
    this.buryDead()
  }

  /** A segment lost a live value. */
  readonly onLoss = (segmentId: number): void => {
    const segment = this.#segments.get(segmentId)
    if (!this.isStarting) {
      this.dirty.add(segmentId)
      this.context.compactor.press()
    }
    if (segment !== undefined && segment.life.liveBytes === 0) this.settled(segment)
  }

  /** A segment went, was stored, or is free again: others may be dead, or worth compacting. */
  buryDead(): void {
    this.context.compactor.press()
    for (const segment of this.#segments.values()) this.settled(segment)
  }

  /** Whatever held the segment is over: if it is dead, it goes. */
  settled(segment: Segment): void {
    const busy = segment.activity !== null || segment.pins > 0 || segment.keepers > 0
    if (!this.isStarting && !busy && !this.signal.aborted && this.isDead(segment))
      this.inBackground(bury(this, segment))
  }

  /** What killed a segment's last value must be on disk before the segment goes, or a power cut takes both. */
  async syncAppended(): Promise<void> {
    await this.#syncAppended?.()
  }

  isDead(segment: Segment): boolean {
    if (segment.state === 'open' || this.context.compactor.keepsAll(basename(this.directory))) return false
    return segment.life.isDead(this.neighbours, { isStored: segment.objectId !== null })
  }

  /** Whether a segment may be evicted sooner or later. */
  get holdsStored(): boolean {
    if (this.pinned) return false
    for (const { state } of this.#segments.values()) if (state === 'stored') return true
    return false
  }

  /** Segments that eviction may choose from now. */
  evictable(): readonly Segment[] {
    if (this.pinned) return []
    const nowMs = this.context.clock.monotonicMs()
    return this.all().filter(
      segment =>
        segment.state === 'stored' && segment.activity === null && segment.pins === 0 && segment.pinnedUntilMs <= nowMs,
    )
  }

  inBackground(work: Promise<void>): void {
    const settled = work.catch(error => {
      // Its failure was logged where it happened; readers hear of it too.
      if (!this.signal.aborted && !(error instanceof SegmentUnavailable))
        this.context.log.error('shelf.failed', { directory: this.directory, error })
    })
    this.#background.add(settled)
    void settled.then(() => this.#background.delete(settled))
  }

  /** Begins nothing more, and lets go of all files. Hooks under way are left to themselves. */
  stop(): void {
    this.#stopping.abort(new Error('the namespace is closed'))
    for (const segment of this.#segments.values()) {
      this.#closeReader(segment)
      if (segment.isLocal) this.#giveRoom(segment)
    }
    this.#segments.clear()
  }

  #giveRoom(segment: Segment): void {
    const { room } = this.context
    room.give(segment.dataBytes)
    room.repay(segment)
  }

  /** @throws StorageError */
  #reader(segment: Segment): SegmentReader {
    return segment.reader ?? this.context.files.of(segment)
  }

  #closeReader(segment: Segment): void {
    segment.reader?.[Symbol.dispose]()
    segment.reader = null
    this.context.files.close(segment)
  }

  #readerIfThere(segment: Segment): SegmentReader | null {
    try {
      return this.#reader(segment)
    } catch (error) {
      this.#notRead(segment, error)
      if (error instanceof FileMissing) return null
      throw new SegmentUnavailable((error as StorageError).message, error)
    }
  }

  #neighbours(): Neighbours {
    const segments = this.#segments
    return {
      get oldestId() {
        return segments.keys().next().value ?? 0
      },
      exists: segmentId => segments.has(segmentId),
      isOnlyHere: segmentId => this.context.hooks.configured && ['open', 'closed'].includes(this.get(segmentId).state),
    }
  }

  #notRead(segment: Segment, error: unknown): null {
    if (!(error instanceof StorageError)) throw error
    if (segment.isNews('segment.not_read'))
      this.context.log.error('segment.not_read', { directory: this.directory, segmentId: segment.id, error })
    return null
  }
}
