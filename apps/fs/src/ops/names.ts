import { FuseError } from '@qsfs/fuse/errno'
import type { Entry, MaybePromise, NodeId, RequestContext } from '@qsfs/fuse/filesystem'
import { attempt, change } from '../tree/attempt.ts'
import type { DirectoryName } from '../tree/directory/directory-format.ts'
import { FileType, type Inode, noAttributes } from '../tree/inode.ts'
import { OrphanReason } from '../tree/orphan-format.ts'
import { inheritedFrom, makeInode, type NewInode } from './new-inode.ts'
import type { Volume } from './volume.ts'

/** lookup, and the operations that make a name. */
export class NameOperations {
  readonly #volume: Volume

  constructor(volume: Volume) {
    this.#volume = volume
  }

  lookup(parent: NodeId, name: Buffer): MaybePromise<Entry | null> {
    return attempt(() => {
      const { directories, inodes } = this.#volume
      const entry = directories.find(directoryAt(this.#volume, parent), nameOf(name))
      if (entry === null) return null
      const inode = inodes.get(entry.nodeId)
      inodes.raiseLookups(inode.nodeId)
      return entryOf(inode)
    })
  }

  create(parent: NodeId, name: Buffer, made: NewInode, context: RequestContext): MaybePromise<Entry> {
    const key = nameOf(name)
    // Borrowed bytes: the operation may have to wait before it runs.
    const target = made.target === undefined ? undefined : Buffer.from(made.target)
    return change(this.#volume.metadata, () => this.#create(parent, key, { ...made, target }, context))
  }

  link(node: NodeId, newParent: NodeId, newName: Buffer): MaybePromise<Entry> {
    const key = nameOf(newName)
    return change(this.#volume.metadata, () => {
      const { directories, inodes, orphans } = this.#volume
      const inode = inodes.get(node)
      const directory = livingDirectoryAt(this.#volume, newParent)
      if (inode.isDirectory) throw new FuseError('EPERM')
      if (directories.find(directory, key) !== null) throw new FuseError('EEXIST')
      directories.add(directory, key, node, typeOf(inode))
      const now = this.#volume.now()
      // Only what O_TMPFILE made may get its first name: the kernel refuses what was unlinked.
      if (inode.linkCount === 0) orphans.remove(node)
      inode.linkCount++
      inode.ctime = now
      touchTimes(directory, now)
      inodes.touch(inode)
      inodes.touch(directory)
      inodes.raiseLookups(node)
      return entryOf(inode)
    })
  }

  /** A file without a name, on the list of what a crash must not forget until `link` names it. */
  tmpfile(parent: NodeId, mode: number, context: RequestContext): MaybePromise<Entry> {
    return change(this.#volume.metadata, () => {
      const { inodes, orphans } = this.#volume
      const directory = livingDirectoryAt(this.#volume, parent)
      const inherited = inheritedFrom(this.#volume, directory, mode, context.umask ?? 0)
      inodes.prepareCreate()
      const inode = makeInode(this.#volume, directory, inherited, {}, context)
      inode.linkCount = 0
      orphans.add(inode.nodeId, OrphanReason.unlinked)
      inodes.raiseLookups(inode.nodeId)
      return entryOf(inode)
    })
  }

  #create(parent: NodeId, key: string, made: NewInode, context: RequestContext): Entry {
    const { directories, inodes } = this.#volume
    const directory = livingDirectoryAt(this.#volume, parent)
    if (directories.find(directory, key) !== null) throw new FuseError('EEXIST')
    const inherited = inheritedFrom(this.#volume, directory, made.mode, context.umask ?? 0)
    const nodeId = inodes.prepareCreate()
    directories.add(directory, key, nodeId, (made.mode & FileType.mask) >>> 12)
    const inode = makeInode(this.#volume, directory, inherited, made, context)
    touchTimes(directory, inode.birthTime)
    inodes.touch(directory)
    inodes.raiseLookups(nodeId)
    return entryOf(inode)
  }
}

/** unlink, rmdir, rename: the operations that take a name away. */
export class RemoveOperations {
  readonly #volume: Volume

  constructor(volume: Volume) {
    this.#volume = volume
  }

  unlink(parent: NodeId, name: Buffer): MaybePromise<void> {
    const key = nameOf(name)
    return change(this.#volume.metadata, () => {
      const { directories, inodes } = this.#volume
      const directory = directoryAt(this.#volume, parent)
      const inode = inodes.get(existing(directories.find(directory, key)).nodeId)
      if (inode.isDirectory) throw new FuseError('EISDIR')
      const now = this.#volume.now()
      directories.remove(directory, key)
      touchTimes(directory, now)
      inodes.touch(directory)
      this.#dropName(inode, now)
    })
  }

  rmdir(parent: NodeId, name: Buffer): MaybePromise<void> {
    const key = nameOf(name)
    return change(this.#volume.metadata, () => {
      const { directories, inodes } = this.#volume
      const directory = directoryAt(this.#volume, parent)
      const inode = inodes.get(existing(directories.find(directory, key)).nodeId)
      if (!inode.isDirectory) throw new FuseError('ENOTDIR')
      if (inode.nameCount > 0) throw new FuseError('ENOTEMPTY')
      const now = this.#volume.now()
      directories.remove(directory, key)
      directory.linkCount--
      touchTimes(directory, now)
      inodes.touch(directory)
      this.#dropName(inode, now)
    })
  }

  rename(from: Place, to: Place, flags: number, context: RequestContext): MaybePromise<void> {
    if ((flags & ~(RenameFlag.noReplace | RenameFlag.exchange | RenameFlag.whiteout)) !== 0)
      throw new FuseError('EINVAL')
    // A name that is taken over must never lead to less than it did: the new file's bytes come first.
    const storing = attempt(() => this.#storeSource(from, to, flags))
    if (storing instanceof Promise) {
      return storing
        .then(flushing => flushing)
        .then(() => change(this.#volume.metadata, () => this.#rename(from, to, flags, context)))
    }
    return change(this.#volume.metadata, () => this.#rename(from, to, flags, context))
  }

  /** In a transaction of its own: a rename that has to happen again, after a kill, must find them in the store. */
  #storeSource(from: Place, to: Place, flags: number): MaybePromise<void> {
    const { buffer, directories, inodes, metadata } = this.#volume
    if ((flags & (RenameFlag.noReplace | RenameFlag.exchange)) !== 0) return
    const source = directories.find(directoryAt(this.#volume, from.parent), from.key)
    const target = directories.find(directoryAt(this.#volume, to.parent), to.key)
    if (source === null || target === null) return
    const inode = inodes.get(source.nodeId)
    if (inode.buffer === null && metadata.isStored(inode.bytesNamedInSeq)) return
    return storeFirst()

    async function storeFirst(): Promise<void> {
      await buffer.flush(inode)
      await metadata.commit()
    }
  }

  #rename(from: Place, to: Place, flags: number, context: RequestContext): void {
    const { directories, inodes } = this.#volume
    const fromDirectory = directoryAt(this.#volume, from.parent)
    const toDirectory = livingDirectoryAt(this.#volume, to.parent)
    const source = existing(directories.find(fromDirectory, from.key))
    const target = directories.find(toDirectory, to.key)
    const inode = inodes.get(source.nodeId)
    const replaced = target === null ? null : inodes.get(target.nodeId)
    if (replaced !== null && (flags & RenameFlag.noReplace) !== 0) throw new FuseError('EEXIST')
    if (replaced === null && (flags & RenameFlag.exchange) !== 0) throw new FuseError('ENOENT')
    if (inode === replaced) return
    const leavesWhiteout = (flags & RenameFlag.whiteout) !== 0
    if (leavesWhiteout) inodes.prepareCreate()
    const now = this.#volume.now()
    if (replaced !== null && (flags & RenameFlag.exchange) !== 0) {
      directories.retarget(toDirectory, target!, inode.nodeId, typeOf(inode))
      directories.retarget(fromDirectory, source, replaced.nodeId, typeOf(replaced))
      this.#moved(replaced, toDirectory, fromDirectory, now)
    } else if (replaced !== null) {
      if (inode.isDirectory && !replaced.isDirectory) throw new FuseError('ENOTDIR')
      if (!inode.isDirectory && replaced.isDirectory) throw new FuseError('EISDIR')
      if (replaced.nameCount > 0) throw new FuseError('ENOTEMPTY')
      directories.retarget(toDirectory, target!, inode.nodeId, typeOf(inode))
      if (replaced.isDirectory) toDirectory.linkCount--
      this.#dropName(replaced, now)
    } else {
      directories.add(toDirectory, to.key, inode.nodeId, typeOf(inode))
    }
    if (leavesWhiteout) {
      const whiteout = makeInode(this.#volume, fromDirectory, whiteoutInode, {}, context)
      directories.retarget(fromDirectory, source, whiteout.nodeId, typeOf(whiteout))
    } else if ((flags & RenameFlag.exchange) === 0) directories.remove(fromDirectory, from.key)
    this.#moved(inode, fromDirectory, toDirectory, now)
    for (const directory of new Set([fromDirectory, toDirectory])) {
      touchTimes(directory, now)
      inodes.touch(directory)
    }
  }

  #moved(inode: Inode, from: Inode, to: Inode, now: Inode['ctime']): void {
    inode.ctime = now
    if (inode.isDirectory && from !== to) {
      inode.parent = to.nodeId
      from.linkCount--
      to.linkCount++
    }
    this.#volume.inodes.touch(inode)
  }

  #dropName(inode: Inode, now: Inode['ctime']): void {
    inode.ctime = now
    inode.linkCount = inode.isDirectory ? 0 : inode.linkCount - 1
    this.#volume.inodes.touch(inode)
    if (inode.linkCount === 0) this.#volume.reclaimer.unlinked(inode)
  }
}

/** A name in a directory, as it is kept in memory. */
export interface Place {
  readonly parent: NodeId
  readonly key: string
}

/** include/uapi/linux/fs.h */
const RenameFlag = { noReplace: 1, exchange: 2, whiteout: 4 } as const

/** What overlayfs takes for "there is nothing": a character device 0:0. */
const whiteoutInode = { mode: FileType.characterDevice, attributes: noAttributes }

export function entryOf(inode: Inode): Entry {
  return { attr: inode.attr(), generation: inode.generation }
}

/** Names in memory: latin1 strings, one character per byte. */
export function nameOf(name: Buffer): string {
  if (name.length > nameBytesMax) throw new FuseError('ENAMETOOLONG')
  return name.toString('latin1')
}
export const nameBytesMax = 255

export function directoryAt(volume: Volume, nodeId: NodeId): Inode {
  const inode = volume.inodes.get(nodeId)
  if (!inode.isDirectory) throw new FuseError('ENOTDIR')
  return inode
}

/** One that may get new names: it was not removed. */
function livingDirectoryAt(volume: Volume, nodeId: NodeId): Inode {
  const inode = directoryAt(volume, nodeId)
  if (inode.linkCount === 0) throw new FuseError('ENOENT')
  return inode
}

function existing(entry: DirectoryName | null): DirectoryName {
  if (entry === null) throw new FuseError('ENOENT')
  return entry
}

function typeOf(inode: Inode): number {
  return inode.type >>> 12
}

function touchTimes(directory: Inode, now: Inode['mtime']): void {
  directory.mtime = now
  directory.ctime = now
}
