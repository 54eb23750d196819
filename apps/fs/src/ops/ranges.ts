import { FuseError } from '@qsfs/fuse/errno'
import type { KernelPages, MaybePromise, NodeId, RequestContext } from '@qsfs/fuse/filesystem'
import { dataRanges } from '../block/data-ranges.ts'
import type { Range } from '../block/dirty-window.ts'
import { chunkBytes } from '../block/extent-format.ts'
import { attempt, change } from '../tree/attempt.ts'
import type { Inode } from '../tree/inode.ts'
import { NotLoaded } from '../tree/record-cache.ts'
import { dropPrivileges, fileBytesMax, settleStoredSize } from './attributes.ts'
import { regularAt } from './files.ts'
import type { Volume } from './volume.ts'

/** include/uapi/linux/falloc.h */
const FallocateMode = { keepSize: 0x01, punchHole: 0x02, zeroRange: 0x10 } as const
/** include/uapi/linux/fs.h */
const Whence = { data: 3, hole: 4 } as const

/** Holes: made by fallocate, found by lseek. */
export class RangeOperations {
  readonly #volume: Volume
  /** Where the kernel keeps dirty pages that we have not seen; null: nowhere. */
  pages: KernelPages | null = null

  constructor(volume: Volume) {
    this.#volume = volume
  }

  /** Space is taken when bytes are stored, so allocation is a promise about the size: it fails when there is no room now.
   *  @param freeBytes what the store could take now */
  async fallocate(
    node: NodeId,
    range: Range,
    mode: number,
    freeBytes: () => MaybePromise<number>,
    { uid }: RequestContext,
  ): Promise<void> {
    const { keepSize, punchHole, zeroRange } = FallocateMode
    if ((mode & ~(keepSize | punchHole | zeroRange)) !== 0) throw new FuseError('EOPNOTSUPP')
    const isPunch = (mode & punchHole) !== 0
    const isZero = (mode & zeroRange) !== 0
    if (isPunch && (isZero || (mode & keepSize) === 0)) throw new FuseError('EOPNOTSUPP')
    if (range.end <= range.start) throw new FuseError('EINVAL')
    if (range.end > fileBytesMax) throw new FuseError('EFBIG')
    if (isPunch || isZero) {
      for (let at = range.start; at < range.end; ) {
        const start = at
        at = await change(this.#volume.metadata, () => this.#punchStep(node, { start, end: range.end }))
      }
    } else await this.#requireRoom(node, range, freeBytes)
    await change(this.#volume.metadata, () => {
      const inode = regularAt(this.#volume.inodes.get(node))
      if ((mode & keepSize) === 0) this.#growTo(inode, range.end)
      if (uid !== 0) dropPrivileges(inode)
      inode.mtime = this.#volume.now()
      inode.ctime = inode.mtime
      this.#volume.inodes.touch(inode)
    })
  }

  /** A hole may lie under dirty pages of the kernel, which asks without writing them back. So what looks like a hole is written
   *  back first, and then looked at again; what is data here is data there. */
  async lseek(node: NodeId, offset: number, whence: number): Promise<number> {
    if (whence !== Whence.data && whence !== Whence.hole) throw new FuseError('EINVAL')
    for (let clean: Range = { start: offset, end: offset }; ; ) {
      const { size, hole } = await attempt(() => this.#holeFrom(node, offset, whence))
      const isClean = this.pages === null || (clean.start <= hole.start && hole.start < clean.end)
      if (whence === Whence.data) {
        if (hole.start === hole.end) return offset
        if (isClean && hole.end > size) throw new FuseError('ENXIO')
        if (isClean) return hole.end
      } else if (isClean) {
        if (offset >= size) throw new FuseError('ENXIO')
        return hole.start
      }
      const lengthBytes = hole.end > size ? 0 : hole.end - hole.start
      await this.pages?.writeBack(node, hole.start, lengthBytes)
      clean = lengthBytes === 0 ? { start: hole.start, end: Number.POSITIVE_INFINITY } : hole
    }
  }

  /** For SEEK_DATA the hole that begins at `offset`, empty when there is data; for SEEK_HOLE the first one from there on. The one at
   *  the end of the file has no end. */
  #holeFrom(node: NodeId, offset: number, whence: number): { size: number; hole: Range } {
    const inode = regularAt(this.#volume.inodes.get(node))
    const size = inode.sizeBytes
    let start = offset
    for (const range of dataRanges(this.#volume.extents, inode, offset)) {
      if (range.start > start) return { size, hole: { start, end: range.start } }
      if (whence === Whence.data) return { size, hole: { start, end: start } }
      start = range.end
    }
    return { size, hole: { start, end: Number.POSITIVE_INFINITY } }
  }

  async #requireRoom(node: NodeId, range: Range, freeBytes: () => MaybePromise<number>): Promise<void> {
    const missing = await attempt(() => {
      let bytes = range.end - range.start
      for (const { start, end } of dataRanges(
        this.#volume.extents,
        regularAt(this.#volume.inodes.get(node)),
        range.start,
      )) {
        if (start >= range.end) break
        bytes -= Math.min(end, range.end) - start
      }
      return bytes
    })
    if (missing > 0 && missing > (await freeBytes())) throw new FuseError('ENOSPC')
  }

  /** One chunk of the range, and the holes after it. @returns where to go on */
  #punchStep(node: NodeId, { start, end }: Range): number {
    const { buffer, extents, inodes, metadata, blocks } = this.#volume
    const inode = regularAt(inodes.get(node))
    const chunk = extents.chunksFrom(inode, Math.floor(start / chunkBytes)).next().value
    const from = chunk === undefined ? end : Math.max(start, chunk * chunkBytes)
    const chunkEnd = chunk === undefined ? end : Math.min(end, (chunk + 1) * chunkBytes)
    const to = from < chunkEnd ? extents.lookReplace(inode, from, chunkEnd).reach : chunkEnd
    buffer.subtract(inode, start, to)
    if (from < to) {
      const { freed } = extents.replace(inode, from, to)
      metadata.freeBlocks(freed)
      blocks.drop(freed)
    }
    settleStoredSize(inode)
    inodes.touch(inode)
    return to
  }

  #growTo(inode: Inode, end: number): void {
    if (end <= inode.sizeBytes) return
    if (inode.trimming !== null) throw new NotLoaded(inode.trimming)
    inode.sizeBytes = end
    settleStoredSize(inode)
  }
}
