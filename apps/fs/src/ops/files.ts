import { FuseError } from '@qsfs/fuse/errno'
import type { MaybePromise, NodeId, WriteFlags } from '@qsfs/fuse/filesystem'
import { ReadSet } from '../block/reader.ts'
import { attempt } from '../tree/attempt.ts'
import type { Inode } from '../tree/inode.ts'
import { NotLoaded } from '../tree/record-cache.ts'
import { noteAccess } from './access-time.ts'
import { dropPrivileges, fileBytesMax } from './attributes.ts'
import type { Volume } from './volume.ts'

/** The bytes of files. */
export class FileOperations {
  readonly #volume: Volume

  constructor(volume: Volume) {
    this.#volume = volume
  }

  read(node: NodeId, offset: number, length: number): MaybePromise<readonly Uint8Array[]> {
    const { blocks, inodes, reader } = this.#volume
    using held = new DisposableStack()
    const values = held.use(new ReadSet(blocks))
    let isFirst = true
    const reading = attempt(() => {
      const inode = regularAt(inodes.get(node))
      if (isFirst) reader.readAhead(inode, offset, length)
      isFirst = false
      const parts = reader.read(inode, offset, length, values)
      noteAccess(this.#volume, inode)
      return parts
    })
    if (!(reading instanceof Promise)) return reading
    const waiting = held.move()
    return reading.finally(() => waiting.dispose())
  }

  write(node: NodeId, offset: number, data: Buffer, flags: WriteFlags): MaybePromise<void> {
    try {
      return this.#write(node, offset, data, flags)
    } catch (error) {
      if (!(error instanceof NotLoaded)) throw error
      const kept = Buffer.from(data)
      const written = attempt(() => ({ settled: this.#write(node, offset, kept, flags) }))
      return written instanceof Promise ? written.then(({ settled }) => settled) : written.settled
    }
  }

  /** The bytes have extents, and those are named by a synced transaction, when this settles. */
  async fsync(node: NodeId): Promise<void> {
    const inode = await attempt(() => this.#volume.inodes.find(node))
    if (inode !== null) await this.#volume.buffer.flush(inode)
    await this.#volume.metadata.fsync()
  }

  #write(node: NodeId, offset: number, data: Buffer, flags: WriteFlags): MaybePromise<void> {
    const { buffer, inodes, quota } = this.#volume
    const inode = regularAt(inodes.get(node))
    const end = offset + data.length
    if (end > fileBytesMax) throw new FuseError('EFBIG')
    if (inode.trimming !== null && end > inode.sizeBytes) throw new NotLoaded(inode.trimming)
    quota.require(inode, offset, data.length)
    const writing = buffer.write(inode, offset, data)
    inode.sizeBytes = Math.max(inode.sizeBytes, end)
    if (!flags.fromCache) this.#written(inode, flags)
    // The cut of a file that is written anew must not be all that outlives this process.
    if (buffer.isEmptied(inode)) this.#volume.metadata.commitSoon()
    return writing
  }

  /** The kernel does this itself for bytes that come from its cache, and tells us with a setattr. */
  #written(inode: Inode, { killPrivileges }: WriteFlags): void {
    const now = this.#volume.now()
    inode.mtime = now
    inode.ctime = now
    if (killPrivileges) dropPrivileges(inode)
  }
}

/** @throws FuseError when it has no bytes */
export function regularAt(inode: Inode): Inode {
  if (!inode.isRegular) throw new FuseError(inode.isDirectory ? 'EISDIR' : 'EINVAL')
  return inode
}
