import { FuseError } from '@qsfs/fuse/errno'
import { firstAfter, windowBytes } from '../block/extents.ts'
import type { FileExtents } from '../block/file-extents.ts'
import type { WriteBuffer } from '../block/write-buffer.ts'
import type { Capacity } from '../ops/filesystem.ts'
import type { Inode } from '../tree/inode.ts'
import type { InodeTable } from '../tree/inode-table.ts'
import type { Reclaimer } from '../tree/reclaimer.ts'
import { NotLoaded } from '../tree/record-cache.ts'

export interface QuotaLimits {
  /** Bytes of all files together, holes not counted; Infinity: no limit. */
  readonly bytesMax: number
}

interface Counted {
  readonly inodes: InodeTable
  readonly extents: FileExtents
  readonly buffer: WriteBuffer
  readonly reclaimer: Reclaimer
}

/** How many bytes all files may hold together. What they hold is counted in the record of numbers, in the transactions that change it,
 *  so it is right after a crash too. */
export class Quota {
  readonly #counted: Counted
  readonly #limits: QuotaLimits

  constructor(counted: Counted, limits: QuotaLimits) {
    this.#counted = counted
    this.#limits = limits
  }

  get usedBytes(): number {
    return this.#counted.inodes.numbers.allocatedBytes
  }

  /** To be asked before [offset, offset + length) of the file is written, or shared.
   *  @throws FuseError ENOSPC; NotLoaded while it takes a flush or a record to know, or a deleted file to go */
  require(inode: Inode, offset: number, length: number): void {
    const { bytesMax } = this.#limits
    const { buffer, reclaimer } = this.#counted
    const leftBytes = bytesMax - this.usedBytes - buffer.dirtyBytes
    // Counted as if nothing were overwritten: true for most writes, and enough as long as there is room.
    if (length <= leftBytes) return
    if (length - this.#heldBytes(inode, offset, offset + length) <= leftBytes) return
    // What is dirty may overwrite what is stored, and takes memory in steps: once it is stored, its bytes are known.
    if (buffer.dirtyBytes > 0) throw new NotLoaded(buffer.flushAll())
    reclaimer.lookGivenBack()
    throw new FuseError('ENOSPC', `the quota of ${bytesMax} bytes is used up`)
  }

  /** What statfs tells, of what the store has. */
  limit(store: Capacity | null): Capacity | null {
    const { bytesMax } = this.#limits
    if (store === null && bytesMax === Number.POSITIVE_INFINITY) return null
    const freeBytes = Math.max(0, Math.min(store?.freeBytes ?? Number.POSITIVE_INFINITY, bytesMax - this.usedBytes))
    return { totalBytes: this.usedBytes + freeBytes, freeBytes }
  }

  #heldBytes(inode: Inode, start: number, end: number): number {
    const { extents } = this.#counted
    let bytes = 0
    for (let at = start; at < end; ) {
      const windowEnd = Math.min(end, at - (at % windowBytes) + windowBytes)
      const list = extents.at(inode, at)
      for (let index = firstAfter(list, at); index < list.length && list[index]!.offset < windowEnd; index++) {
        const { offset, length } = list[index]!
        bytes += Math.min(windowEnd, offset + length) - Math.max(at, offset)
      }
      at = windowEnd
    }
    return bytes
  }
}
