import { type Clock, delay } from '@qsfs/concurrency/clock'
import type { NodeId } from '@qsfs/fuse/filesystem'
import type { Log } from '@qsfs/telemetry/log'
import type { BlockCache } from '../block/block-cache.ts'
import { chunkBytes } from '../block/extent-format.ts'
import type { FileExtents } from '../block/file-extents.ts'
import type { WriteBuffer } from '../block/write-buffer.ts'
import type { BlockId } from '../store/store.ts'
import { attempt, change } from './attempt.ts'
import type { Attributes } from './attributes.ts'
import type { Inode } from './inode.ts'
import { inlineExtentsMax } from './inode-format.ts'
import type { InodeTable } from './inode-table.ts'
import type { MetadataLog } from './metadata-log.ts'
import { type Orphan, OrphanReason } from './orphan-format.ts'
import type { Orphans } from './orphans.ts'
import { NotLoaded } from './record-cache.ts'

/** One step looks at most at so many chunks, and stops at so many extents: a transaction stays small. */
const chunksPerStep = 64
const extentsPerStep = 2048
const retryDelayMs = 1000
/** So long after the answer to an unlink the kernel may still be about to let go of the file. */
const lettingGoMs = 1000
/** Whether it has is looked at so often. */
const lookAgainMs = 10
/** So many chunks are given back within the operation itself: with 1,600 extents each its transaction stays below 64 KiB. */
const chunksAtOnceMax = 4

export interface ReclaimedFrom {
  readonly metadata: MetadataLog
  readonly inodes: InodeTable
  readonly attributes: Attributes
  readonly extents: FileExtents
  readonly blocks: BlockCache
  readonly orphans: Orphans
  readonly buffer: WriteBuffer
}

/** Gives back what files no longer need, in steps that each are one small transaction, however long the file is. */
export class Reclaimer {
  readonly #from: ReclaimedFrom
  readonly #clock: Clock
  readonly #log: Log
  #givesBackUntilMs = 0

  constructor(from: ReclaimedFrom, clock: Clock, log: Log) {
    this.#from = from
    this.#clock = clock
    this.#log = log
  }

  /** What earlier mounts left behind. @param areHeld by a kernel that an earlier process of this mount served */
  async resume(orphans: readonly Orphan[], { areHeld }: { readonly areHeld: boolean }): Promise<void> {
    const { inodes } = this.#from
    for (const { nodeId, reason } of orphans) {
      if (reason === OrphanReason.unlinked && !areHeld) {
        this.dropUnheld(nodeId)
        continue
      }
      if (reason === OrphanReason.unlinked) inodes.noteUnlinked(nodeId)
      const inode = await attempt(() => inodes.find(nodeId))
      // Extents beyond the size are nobody's, also those of a file without a name that was being dropped.
      if (inode?.isRegular) this.#trimInBackground(inode)
    }
  }

  /** To be asked before something is refused for want of room.
   *  @throws NotLoaded while files that were deleted or cut a moment ago still count for what they held */
  lookGivenBack(): void {
    if (this.#from.orphans.count === 0 || this.#clock.monotonicMs() >= this.#givesBackUntilMs) return
    throw new NotLoaded(delay(this.#clock, lookAgainMs))
  }

  /** The inode lost its last name, in the stretch of an operation that looked at all of it: it goes as soon as nobody holds it. */
  unlinked(inode: Inode): void {
    const { inodes } = this.#from
    inodes.noteUnlinked(inode.nodeId)
    if (!inodes.isHeld(inode.nodeId) && this.#isSmall(inode) && inode.inlineAttributes !== null) {
      this.#remove(inode)
      return
    }
    this.#noteOrphan(inode, OrphanReason.unlinked)
    if (!inodes.isHeld(inode.nodeId)) this.dropUnheld(inode.nodeId)
  }

  /** The kernel let go of a node: if it has no name either, it goes. */
  dropUnheld(nodeId: NodeId): void {
    const dropping = change(this.#from.metadata, () => {
      const { inodes, orphans } = this.#from
      const inode = inodes.find(nodeId)
      if (inode === null) return orphans.remove(nodeId)
      if (inode.linkCount > 0 || inodes.isHeld(nodeId)) return
      if (inode.inlineAttributes === null) this.#from.attributes.of(inode)
      if (inode.trimming === null && this.#lookAtFew(inode, 0)) return this.#remove(inode)
      this.#from.buffer.subtract(inode, 0, Number.MAX_SAFE_INTEGER)
      inode.sizeBytes = 0
      inode.storedSizeBytes = 0
      if (inode.trimming === null) this.#trimInBackground(inode)
    })
    if (dropping instanceof Promise) dropping.catch(error => this.#retry(nodeId, error))
  }

  /** In the stretch of a truncate, after the size was set: extents beyond it go, now or in the background. Looks first. */
  lookTrim(inode: Inode, sizeBytes: number): void {
    if (sizeBytes % chunkBytes !== 0) this.#from.extents.lookReplace(inode, sizeBytes, chunkEndOf(sizeBytes))
    this.#lookAtFew(inode, Math.ceil(sizeBytes / chunkBytes))
  }

  trim(inode: Inode): void {
    const { extents } = this.#from
    const { sizeBytes } = inode
    let isWhole = true
    if (sizeBytes % chunkBytes !== 0) {
      const { reach } = extents.lookReplace(inode, sizeBytes, chunkEndOf(sizeBytes))
      this.#free(extents.replace(inode, sizeBytes, reach).freed)
      isWhole = reach === chunkEndOf(sizeBytes)
    }
    const firstChunk = Math.ceil(sizeBytes / chunkBytes)
    if (isWhole && extents.lastChunk(inode) < firstChunk) return
    if (isWhole && inode.trimming === null && this.#lookAtFew(inode, firstChunk)) {
      this.#cut(inode, firstChunk)
      return
    }
    this.#noteOrphan(inode, OrphanReason.trimmed)
    this.#trimInBackground(inode)
  }

  #noteOrphan(inode: Inode, reason: OrphanReason): void {
    this.#from.orphans.add(inode.nodeId, reason)
    this.#givesBackUntilMs = this.#clock.monotonicMs() + lettingGoMs
  }

  #isSmall(inode: Inode): boolean {
    const { chunkSpans, inlineExtents } = inode
    if (chunkSpans.length > 0 || inlineExtents === null) return chunkSpans.length === 0
    return inlineExtents.length <= inlineExtentsMax && !inlineExtents.some(({ shared }) => shared)
  }

  /** Looks at all chunks from `firstChunk` on if they are few, and few counts of shared values with them: then they can be cut in the
   *  same stretch. */
  #lookAtFew(inode: Inode, firstChunk: number): boolean {
    const { extents } = this.#from
    const last = extents.lastChunk(inode)
    if (last - firstChunk >= chunksAtOnceMax) return false
    for (let index = firstChunk; index <= last; index++) {
      const { reach, isShared } = extents.lookReplace(inode, index * chunkBytes, (index + 1) * chunkBytes)
      if (reach < (index + 1) * chunkBytes || (isShared && last > firstChunk)) return false
    }
    return true
  }

  #cut(inode: Inode, firstChunk: number): void {
    const { extents } = this.#from
    for (let index = extents.lastChunk(inode); index >= firstChunk; index--) {
      this.#free(extents.replace(inode, index * chunkBytes, (index + 1) * chunkBytes).freed)
    }
    extents.dropSpansFrom(inode, firstChunk)
  }

  /** All of it in one stretch: nothing is left but records that are in memory. */
  #remove(inode: Inode): void {
    const { buffer, attributes, inodes, orphans } = this.#from
    buffer.subtract(inode, 0, Number.MAX_SAFE_INTEGER)
    this.#cut(inode, 0)
    if (inode.inlineAttributes === null) attributes.set(inode, new Map())
    orphans.remove(inode.nodeId)
    inodes.remove(inode)
  }

  #trimInBackground(inode: Inode): void {
    if (inode.trimming !== null) return
    inode.pins++
    this.#keepTrimming(inode, this.#trimAll(inode))
  }

  /** Whoever wants to grow the file waits for the attempt under way, and is told when that fails. Between two attempts the
   *  file must not grow either: what was cut would be seen again. */
  #keepTrimming(inode: Inode, trimming: Promise<void>): void {
    inode.trimming = trimming
    trimming.then(
      () => {
        inode.pins--
        inode.trimming = null
        if (inode.linkCount === 0) this.dropUnheld(inode.nodeId)
      },
      error => {
        this.#log.warn('trim.failed', { nodeId: inode.nodeId, error: String(error) })
        const again = delay(this.#clock, retryDelayMs).then(() => this.#trimAll(inode))
        this.#keepTrimming(inode, again)
      },
    )
  }

  async #trimAll(inode: Inode): Promise<void> {
    for (let isDone = false; !isDone; ) isDone = await change(this.#from.metadata, () => this.#trimStep(inode))
  }

  /** @returns true when no extents beyond the size are left */
  #trimStep(inode: Inode): boolean {
    const { extents, inodes, orphans } = this.#from
    const { sizeBytes } = inode
    const firstChunk = Math.floor(sizeBytes / chunkBytes)
    const last = extents.lastChunk(inode)
    const chunks: number[] = []
    for (let index = last; index >= firstChunk && chunks.length < chunksPerStep; index--) chunks.push(index)
    const loading = extents.prefetch(
      inode,
      chunks.map(index => index * chunkBytes),
    )
    if (loading !== null) throw new NotLoaded(loading)
    const cuts: { readonly index: number; readonly start: number; readonly end: number }[] = []
    let count = 0
    for (const index of chunks) {
      if (count > extentsPerStep) break
      const start = Math.max(sizeBytes, index * chunkBytes)
      const { reach: end, isShared } = extents.lookReplace(inode, start, (index + 1) * chunkBytes)
      count += extents.at(inode, start).length
      cuts.push({ index, start, end })
      // Its counts are in records of their own: one chunk of that kind is enough for a step.
      if (isShared) break
    }
    let isDone = cuts.length === Math.max(0, last - firstChunk + 1)
    for (const { index, start, end } of cuts) {
      this.#free(extents.replace(inode, start, end).freed)
      if (end < (index + 1) * chunkBytes) isDone = false
      else if (start === index * chunkBytes) extents.dropSpansFrom(inode, index)
    }
    // Without a name it stays on the list until it is gone.
    if (isDone && inode.linkCount > 0) orphans.remove(inode.nodeId)
    inodes.touch(inode)
    return isDone
  }

  #retry(nodeId: NodeId, error: unknown): void {
    this.#log.warn('reclaim.failed', { nodeId, error: String(error) })
    this.#clock.schedule(retryDelayMs, () => this.dropUnheld(nodeId))
  }

  #free(ids: readonly BlockId[]): void {
    if (ids.length === 0) return
    this.#from.metadata.freeBlocks(ids)
    this.#from.blocks.drop(ids)
  }
}

function chunkEndOf(offset: number): number {
  return (Math.floor(offset / chunkBytes) + 1) * chunkBytes
}
