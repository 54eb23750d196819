import { FuseError } from '@qsfs/fuse/errno'
import type { FilePlace, FileRange, RequestContext } from '@qsfs/fuse/filesystem'
import { chunkBytes } from '../block/extent-format.ts'
import {
  clip,
  countInWindow,
  type Extent,
  firstAfter,
  replace,
  windowBytes,
  windowExtentsMax,
} from '../block/extents.ts'
import { ReadSet } from '../block/reader.ts'
import { attempt, change } from '../tree/attempt.ts'
import type { Inode } from '../tree/inode.ts'
import { NotLoaded } from '../tree/record-cache.ts'
import { noteAccess } from './access-time.ts'
import { dropPrivileges, fileBytesMax, settleStoredSize } from './attributes.ts'
import { regularAt } from './files.ts'
import type { Volume } from './volume.ts'

/** So much is copied for one request: `cp` asks again, and a caller that is killed does not wait long. */
const copiedBytesMax = 1024 * 1024 * 1024
/** A piece shorter than this, of a longer value, is copied byte by byte: sharing would keep all of the value for it. */
const sharedBytesMin = 4096

/** What one window of the target got: `copied` bytes of it. Or the source has bytes that are not stored (`unstored`), or pieces that are
 *  better copied than shared (`small`, that many). */
type Step = { readonly copied: number } | { readonly small: number } | 'unstored'

/** copy_file_range: the target names the values of the source, and no byte is read or stored. */
export class CopyOperations {
  readonly #volume: Volume

  constructor(volume: Volume) {
    this.#volume = volume
  }

  async copy(from: FileRange, to: FilePlace, context: RequestContext): Promise<number> {
    const { isRepeating, lostBytes } = this.#volume
    // What the source lost is not in the copy, of which somebody was told that it is.
    if (isRepeating && lostBytes.has(from.node)) lostBytes.add([to.node])
    // Once: a copy within one file may move its end.
    const { sizeBytes } = await attempt(() => regularAt(this.#volume.inodes.get(from.node)))
    const lengthBytes = Math.min(from.lengthBytes, copiedBytesMax, Math.max(0, sizeBytes - from.offsetBytes))
    if (to.offsetBytes + lengthBytes > fileBytesMax) throw new FuseError('EFBIG')
    let copied = 0
    while (copied < lengthBytes) {
      const rest = {
        node: from.node,
        offsetBytes: from.offsetBytes + copied,
        lengthBytes: lengthBytes - copied,
      }
      const target = { node: to.node, offsetBytes: to.offsetBytes + copied }
      const step = await change(this.#volume.metadata, () => this.#shareWindow(rest, target, context))
      if (step === 'unstored') await this.#store(from)
      else if ('small' in step) {
        await this.#copyBytes({ ...rest, lengthBytes: step.small }, target)
        copied += step.small
      } else if (step.copied === 0) return copied
      else copied += step.copied
      // Others get their turn between windows.
      if (copied % chunkBytes < windowBytes) await new Promise(resolve => setImmediate(resolve))
    }
    return copied
  }

  #shareWindow(from: FileRange, to: FilePlace, { uid }: RequestContext): Step {
    const { buffer, blocks, extents, inodes, metadata, quota } = this.#volume
    const source = regularAt(inodes.get(from.node))
    const target = regularAt(inodes.get(to.node))
    const length = lengthOfStep(from, to, source.sizeBytes)
    if (length <= 0) return { copied: 0 }
    const end = to.offsetBytes + length
    if (target.trimming !== null && end > target.sizeBytes) throw new NotLoaded(target.trimming)
    if (isBuffered(source, from.offsetBytes, from.offsetBytes + length)) return 'unstored'
    const found = this.#extentsOf(source, from.offsetBytes, from.offsetBytes + length)
    const moved = found.map(extent => ({
      ...extent,
      offset: extent.offset - from.offsetBytes + to.offsetBytes,
      shared: true,
    }))
    extents.lookReplace(target, to.offsetBytes, end)
    extents.lookShare(found)
    const after = replace(extents.at(target, to.offsetBytes), to.offsetBytes, end, moved)
    const isCrowded = countInWindow(after.extents, windowOf(to.offsetBytes)) > windowExtentsMax
    if (moved.length > 0 && (isCrowded || moved.some(isSmall))) return { small: length }
    if (moved.length > 0) quota.require(target, to.offsetBytes, length)
    extents.share(source, found)
    buffer.subtract(target, to.offsetBytes, end)
    const { freed } = extents.replace(target, to.offsetBytes, end, moved)
    metadata.freeBlocks(freed)
    blocks.drop(freed)
    target.sizeBytes = Math.max(target.sizeBytes, end)
    // As of bytes that are stored: none may lie beyond the size that a crash leaves.
    if (moved.length > 0) target.storedSizeBytes = Math.max(target.storedSizeBytes, end)
    target.bytesNamedInSeq = metadata.runningSeq
    settleStoredSize(target)
    target.mtime = this.#volume.now()
    target.ctime = target.mtime
    if (uid !== 0) dropPrivileges(target)
    inodes.touch(source)
    inodes.touch(target)
    noteAccess(this.#volume, source)
    return { copied: length }
  }

  #extentsOf(inode: Inode, start: number, end: number): Extent[] {
    const list = this.#volume.extents.at(inode, start)
    const found: Extent[] = []
    for (let index = firstAfter(list, start); index < list.length && list[index]!.offset < end; index++) {
      found.push(clip(list[index]!, start, end))
    }
    return found
  }

  async #store({ node }: FilePlace): Promise<void> {
    const flushing = await attempt(() => ({
      done: this.#volume.buffer.flush(regularAt(this.#volume.inodes.get(node))),
    }))
    await flushing.done
  }

  async #copyBytes(from: FileRange, to: FilePlace): Promise<void> {
    const { blocks, buffer, inodes, reader } = this.#volume
    using held = new ReadSet(blocks)
    const bytes = Buffer.concat(
      await attempt(() => reader.read(regularAt(inodes.get(from.node)), from.offsetBytes, from.lengthBytes, held)),
    )
    const writing = await attempt(() => {
      const target = regularAt(inodes.get(to.node))
      const end = to.offsetBytes + bytes.length
      if (target.trimming !== null && end > target.sizeBytes) throw new NotLoaded(target.trimming)
      this.#volume.quota.require(target, to.offsetBytes, bytes.length)
      const done = buffer.write(target, to.offsetBytes, bytes)
      target.sizeBytes = Math.max(target.sizeBytes, end)
      target.mtime = this.#volume.now()
      target.ctime = target.mtime
      return { done }
    })
    await writing.done
  }
}

/** To the end of the target's window, of the source's chunk, of the source. */
function lengthOfStep(from: FileRange, to: FilePlace, sourceBytes: number): number {
  return Math.min(
    from.lengthBytes,
    sourceBytes - from.offsetBytes,
    windowBytes - (to.offsetBytes % windowBytes),
    chunkBytes - (from.offsetBytes % chunkBytes),
  )
}

function windowOf(offset: number): number {
  return offset - (offset % windowBytes)
}

function isSmall({ length, valueBytes }: Extent): boolean {
  return length < sharedBytesMin && length < valueBytes
}

function isBuffered(inode: Inode, start: number, end: number): boolean {
  for (let at = start; at < end; at += windowBytes - (at % windowBytes)) {
    const index = Math.floor(at / windowBytes)
    for (const layer of inode.buffer?.layers(index) ?? []) {
      const isInside = (range: { start: number; end: number }) =>
        layer.offset + range.start < end && layer.offset + range.end > start
      if (layer.ranges.some(isInside)) return true
    }
  }
  return false
}
