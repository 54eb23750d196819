import type { Clock } from '@qsfs/concurrency/clock'
import type { Repetition } from '@qsfs/fuse/resume/repeat'
import type { RequestJournal, Unfinished } from '@qsfs/fuse/resume/request-journal'
import type { Log } from '@qsfs/telemetry/log'
import { BlockCache } from '../block/block-cache.ts'
import { FileExtents } from '../block/file-extents.ts'
import { Flusher } from '../block/flusher.ts'
import { Reader } from '../block/reader.ts'
import { WindowPool } from '../block/window-pool.ts'
import { WriteBuffer } from '../block/write-buffer.ts'
import { Quota } from '../state/quota.ts'
import { countAllocatedBytes } from '../state/usage.ts'
import type { Store } from '../store/store.ts'
import { attempt, change } from '../tree/attempt.ts'
import { Attributes } from '../tree/attributes.ts'
import { Directories } from '../tree/directory/directory.ts'
import { FileType, timestampOf } from '../tree/inode.ts'
import { InodeTable } from '../tree/inode-table.ts'
import { MetadataLog } from '../tree/metadata-log.ts'
import { Orphans } from '../tree/orphans.ts'
import { Reclaimer } from '../tree/reclaimer.ts'
import { RecordCache } from '../tree/record-cache.ts'
import { LostBytes } from './lost-bytes.ts'

export interface VolumeLimits {
  readonly dirtyBytesMax: number
  readonly blockCacheBytesMax: number
  readonly writeWaitMs: number
  /** Most bytes of WRITE the kernel may have under way: max_background × max_write. */
  readonly waitingBytesMax: number
  /** What records of the tree may take in memory. */
  readonly recordBytesMax: number
  /** Of all files together. */
  readonly quotaBytesMax: number
  readonly quotaInodesMax: number
  /** Whom the root of a new filesystem belongs to. */
  readonly rootOwner: { readonly uid: number; readonly gid: number }
}

export const defaultVolumeLimits: VolumeLimits = {
  dirtyBytesMax: 64 * 1024 * 1024,
  blockCacheBytesMax: 256 * 1024 * 1024,
  writeWaitMs: 30_000,
  waitingBytesMax: 64 * 1024 * 1024,
  recordBytesMax: 96 * 1024 * 1024,
  quotaBytesMax: Number.POSITIVE_INFINITY,
  quotaInodesMax: Number.POSITIVE_INFINITY,
  rootOwner: { uid: 0, gid: 0 },
}

interface Kept {
  readonly journal: RequestJournal | null
  readonly lostBytes: LostBytes
}

const commitDelayMs = 1000
/** Enough to keep a pipelined connection busy: 4 MiB under way. */
const flushesMax = 32
const flushDelayMs = 1000
const readAheadLimits = { aheadBytesMax: 4 * 1024 * 1024, scoutBytes: 32 * 1024 * 1024 }
/** The store keeps what it was handed until a sync, at most about this much. */
const restingBytesMax = 64 * 1024 * 1024
const trimDelayMs = 200

/** A filesystem in a store: all its parts, made and put together. What operations work on. */
export class Volume implements AsyncDisposable {
  readonly clock: Clock
  readonly store: Store
  readonly metadata: MetadataLog
  readonly records: RecordCache
  readonly inodes: InodeTable
  readonly directories: Directories
  readonly attributes: Attributes
  readonly orphans: Orphans
  readonly extents: FileExtents
  readonly blocks: BlockCache
  readonly reader: Reader
  readonly buffer: WriteBuffer
  readonly reclaimer: Reclaimer
  readonly quota: Quota
  /** Of earlier processes of this mount. */
  readonly lostBytes: LostBytes
  /** null: nobody comes after this process. */
  readonly journal: RequestJournal | null
  /** What has to happen again before this is served; null: nothing. */
  unfinished: Unfinished | null = null
  #repeatedMs: number | null = null
  #cancelTrim: (() => void) | null = null

  private constructor(store: Store, metadata: MetadataLog, clock: Clock, log: Log, limits: VolumeLimits, kept: Kept) {
    this.clock = clock
    this.journal = kept.journal
    this.lostBytes = kept.lostBytes
    this.store = store
    this.metadata = metadata
    this.records = new RecordCache(metadata, { bytesMax: limits.recordBytesMax })
    this.inodes = new InodeTable(this.records, limits.quotaInodesMax, () => this.reclaimer.lookGivenBack())
    this.directories = new Directories(this.records)
    this.attributes = new Attributes(this.records)
    this.orphans = new Orphans(this.records, this.inodes, metadata.session)
    this.extents = new FileExtents(this.records)
    this.blocks = new BlockCache(store, { bytesMax: limits.blockCacheBytesMax })
    this.reader = new Reader(this.extents, this.blocks, readAheadLimits)
    const flusher = new Flusher(metadata, this.inodes, this.extents, this.reader, this.blocks)
    const memory = new WindowPool(store, { restingBytesMax })
    this.buffer = new WriteBuffer(clock, memory, (inode, window) => flusher.store(inode, window), {
      dirtyBytesMax: limits.dirtyBytesMax,
      waitingBytesMax: limits.waitingBytesMax,
      writeWaitMs: limits.writeWaitMs,
      flushesMax,
      flushDelayMs,
      onFirstBytes: ({ nodeId }) => this.journal?.noteUnstored(nodeId),
    })
    this.reclaimer = new Reclaimer(this, clock, log)
    this.quota = new Quota(this, { bytesMax: limits.quotaBytesMax })
  }

  /** Recovers what is in the store, or makes an empty filesystem there.
   *  @param journal of the mount that it will be served on, if one outlives this process */
  static async open(
    store: Store,
    clock: Clock,
    log: Log,
    limits: Partial<VolumeLimits> = {},
    journal: RequestJournal | null = null,
  ): Promise<Volume> {
    const lostBytes = new LostBytes(clock)
    const metadata = await MetadataLog.open(store, clock, log, {
      commitDelayMs,
      beforeCommit: () => volume.buffer.flushRewritten(),
      onSeal: seq => journal?.seal(seq, volume.buffer.nodeIds, lostBytes.nodeIds),
    })
    await using opening = new AsyncDisposableStack()
    opening.use(metadata)
    const kept = { journal, lostBytes }
    const allLimits = { ...defaultVolumeLimits, ...limits }
    const volume = new Volume(store, metadata, clock, log, allLimits, kept)
    const isResumed = journal !== null && !journal.isNew
    if (isResumed) {
      // Before anything is changed: a transaction would count as what the journal holds.
      volume.unfinished = journal.unfinished(metadata.newestSeq)
      lostBytes.add(volume.unfinished.lostNodeIds)
      volume.inodes.resume()
    } else journal?.begin()
    await change(metadata, () => volume.#makeRoot(allLimits.rootOwner))
    if (!volume.inodes.numbers.isCounted) await volume.#countBytes(log)
    await volume.reclaimer.resume(await attempt(() => volume.orphans.load()), { areHeld: isResumed })
    volume.#armTrim()
    opening.move()
    return volume
  }

  /** Now, as inodes keep it. */
  now() {
    return timestampOf(this.#repeatedMs ?? this.clock.nowMs())
  }

  get isRepeating(): boolean {
    return this.#repeatedMs !== null
  }

  /** What happens next happens again: when it did, and with the number that it got. null: that is over. */
  repeatAt(repetition: Repetition | null): void {
    this.#repeatedMs = repetition?.nowMs ?? null
    const { numbers } = this.inodes
    numbers.nextNodeId = Math.max(numbers.nextNodeId, repetition?.nodeId ?? 0)
  }

  /** Everything that happened so far is on the store's disk when this settles. */
  async sync(): Promise<void> {
    await this.buffer.flushAll()
    await this.metadata.fsync()
  }

  /** Stores what is buffered, syncs it, and stops all timers. The store stays open: it belongs to who opened it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#cancelTrim?.()
    await using closing = new AsyncDisposableStack()
    closing.use(this.metadata)
    closing.use(this.buffer)
  }

  #makeRoot({ uid, gid }: VolumeLimits['rootOwner']): void {
    if (this.inodes.numbers.inodeCount > 0) return
    this.inodes.prepareCreate()
    const root = this.inodes.create(FileType.directory | 0o755, this.now())
    root.uid = uid
    root.gid = gid
    root.linkCount = 2
    root.parent = root.nodeId
    this.directories.open(root)
  }

  async #countBytes(log: Log): Promise<void> {
    const bytes = await countAllocatedBytes(this.inodes, this.records)
    await change(this.metadata, () => {
      Object.assign(this.inodes.numbers, { allocatedBytes: bytes, isCounted: true })
      this.inodes.touchNumbers()
    })
    log.event('volume.counted', { allocatedBytes: bytes })
  }

  #armTrim(): void {
    this.#cancelTrim = this.clock.schedule(trimDelayMs, () => {
      this.records.trim()
      this.#armTrim()
    })
  }
}
