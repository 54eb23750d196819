import { FuseError } from '@qsfs/fuse/errno'
import type {
  AttrChange,
  ConnectionInfo,
  CreatedFile,
  Entry,
  FileHandle,
  FilePlace,
  FileRange,
  Filesystem,
  FilesystemStats,
  FillDirectory,
  KernelPages,
  MaybePromise,
  NodeId,
  OpenFile,
  RequestContext,
  WriteFlags,
} from '@qsfs/fuse/filesystem'
import type { FileStates } from '../state/file-state.ts'
import { attempt } from '../tree/attempt.ts'
import { FileType } from '../tree/inode.ts'
import { noteAccess } from './access-time.ts'
import { AttributeOperations } from './attributes.ts'
import { CopyOperations } from './copies.ts'
import { FileOperations } from './files.ts'
import { ListOperations } from './listing.ts'
import { NameOperations, nameBytesMax, nameOf, RemoveOperations } from './names.ts'
import { RangeOperations } from './ranges.ts'
import type { Volume } from './volume.ts'

export interface FilesystemOptions {
  /** OPEN and OPENDIR are answered ENOSYS: the kernel then opens files without asking, and never sends RELEASE. */
  readonly opensSilently: boolean
  /** Tells what became of bytes; without it nobody can ask. */
  readonly states?: FileStates
  /** Room in the store; null: it does not say. */
  readonly capacity: () => MaybePromise<Capacity | null>
}

export interface Capacity {
  readonly totalBytes: number
  readonly freeBytes: number
}

/** include/uapi/linux/fuse.h: the file's pages and names in the kernel stay valid over an open. */
const OpenFlag = { keepCache: 2, cacheDirectory: 8 } as const
const openedFile: OpenFile = { fh: 0, openFlags: OpenFlag.keepCache }
const openedDirectory: OpenFile = { fh: 0, openFlags: OpenFlag.keepCache | OpenFlag.cacheDirectory }

/** statfs counts in these. */
const statBlockBytes = 4096
/** Inodes are numbers: without a quota they do not run out. A number that tools can print. */
const filesFreeMax = 2 ** 40

/** A volume behind the interface that the kernel session and the fuse-native adapter call. Handles carry no state: a node is
 *  kept by the kernel's lookups, and errors of late flushes belong to the file, which keeps its bytes until they are stored. */
export class VolumeFilesystem implements Filesystem {
  readonly wantsPosixAcl = true
  readonly opensSilently: boolean
  readonly #volume: Volume
  readonly #options: FilesystemOptions
  readonly #names: NameOperations
  readonly #removes: RemoveOperations
  readonly #attributes: AttributeOperations
  readonly #files: FileOperations
  readonly #lists: ListOperations
  readonly #ranges: RangeOperations
  readonly #copies: CopyOperations

  constructor(volume: Volume, options: FilesystemOptions) {
    this.#volume = volume
    this.#options = options
    this.opensSilently = options.opensSilently
    this.#names = new NameOperations(volume)
    this.#removes = new RemoveOperations(volume)
    this.#attributes = new AttributeOperations(volume, options.states ?? null)
    this.#files = new FileOperations(volume)
    this.#lists = new ListOperations(volume)
    this.#ranges = new RangeOperations(volume)
    this.#copies = new CopyOperations(volume)
  }

  init(_connection: ConnectionInfo, pages?: KernelPages): void {
    this.#ranges.pages = pages ?? null
  }

  lookup(parent: NodeId, name: Buffer): MaybePromise<Entry | null> {
    return this.#names.lookup(parent, name)
  }
  forget(node: NodeId, count: number): void {
    const { inodes, journal, lostBytes, orphans, reclaimer } = this.#volume
    if (!inodes.dropLookups(node, count)) return
    const isGone = orphans.has(node)
    lostBytes.forget(node, isGone)
    if (!isGone) return
    journal?.noteForgotten(node)
    reclaimer.dropUnheld(node)
  }
  getattr(node: NodeId) {
    return this.#attributes.getattr(node)
  }
  setattr(node: NodeId, change: AttrChange) {
    return this.#attributes.setattr(node, change)
  }
  readlink(node: NodeId): MaybePromise<Buffer> {
    return attempt(() => {
      const inode = this.#volume.inodes.get(node)
      const target = this.#volume.attributes.of(inode).get('')
      if (target === undefined) throw new FuseError('EINVAL')
      noteAccess(this.#volume, inode)
      return target
    })
  }

  mknod(parent: NodeId, name: Buffer, mode: number, rdev: number, context: RequestContext) {
    return this.#names.create(parent, name, { mode, rdev }, context)
  }
  mkdir(parent: NodeId, name: Buffer, mode: number, context: RequestContext) {
    return this.#names.create(parent, name, { mode: FileType.directory | (mode & ~FileType.mask) }, context)
  }
  symlink(parent: NodeId, name: Buffer, target: Buffer, context: RequestContext) {
    return this.#names.create(parent, name, { mode: FileType.symlink | 0o777, target }, context)
  }
  link(node: NodeId, newParent: NodeId, newName: Buffer) {
    return this.#names.link(node, newParent, newName)
  }
  create(
    parent: NodeId,
    name: Buffer,
    mode: number,
    _flags: number,
    context: RequestContext,
  ): MaybePromise<CreatedFile> {
    const made = this.#names.create(parent, name, { mode: FileType.regular | (mode & ~FileType.mask) }, context)
    return opened(made)
  }
  tmpfile(parent: NodeId, mode: number, _flags: number, context: RequestContext): MaybePromise<CreatedFile> {
    return opened(this.#names.tmpfile(parent, FileType.regular | (mode & ~FileType.mask), context))
  }
  unlink(parent: NodeId, name: Buffer) {
    return this.#removes.unlink(parent, name)
  }
  rmdir(parent: NodeId, name: Buffer) {
    return this.#removes.rmdir(parent, name)
  }
  rename(
    parent: NodeId,
    name: Buffer,
    newParent: NodeId,
    newName: Buffer,
    flags: number,
    context: RequestContext,
  ): MaybePromise<void> {
    const from = { parent, key: nameOf(name) }
    return this.#removes.rename(from, { parent: newParent, key: nameOf(newName) }, flags, context)
  }

  open(): OpenFile {
    if (this.opensSilently) throw new FuseError('ENOSYS')
    return openedFile
  }
  read(node: NodeId, _fh: FileHandle, offsetBytes: number, sizeBytes: number) {
    return this.#files.read(node, offsetBytes, sizeBytes)
  }
  write(node: NodeId, _fh: FileHandle, offsetBytes: number, data: Buffer, flags: WriteFlags) {
    return this.#files.write(node, offsetBytes, data, flags)
  }
  async fsync(node: NodeId, _fh: FileHandle, _isDataOnly: boolean, context: RequestContext): Promise<void> {
    await this.#files.fsync(node)
    await this.#volume.lostBytes.tell(node, context.pid)
  }
  release(): void {}
  fallocate(
    node: NodeId,
    _fh: FileHandle,
    offsetBytes: number,
    lengthBytes: number,
    mode: number,
    context: RequestContext,
  ): Promise<void> {
    const range = { start: offsetBytes, end: offsetBytes + lengthBytes }
    return this.#ranges.fallocate(node, range, mode, () => this.#freeBytes(), context)
  }
  lseek(node: NodeId, _fh: FileHandle, offsetBytes: number, whence: number): Promise<number> {
    return this.#ranges.lseek(node, offsetBytes, whence)
  }
  copyFileRange(from: FileRange, to: FilePlace, context: RequestContext): Promise<number> {
    return this.#copies.copy(from, to, context)
  }

  opendir(): OpenFile {
    if (this.opensSilently) throw new FuseError('ENOSYS')
    return openedDirectory
  }
  readdir(node: NodeId, _fh: FileHandle, cursor: bigint, withEntries: boolean, fill: FillDirectory) {
    return this.#lists.readdir(node, cursor, withEntries, fill)
  }
  fsyncdir(): Promise<void> {
    return this.#volume.metadata.fsync()
  }
  releasedir(): void {}

  async statfs(): Promise<FilesystemStats> {
    // Before the server is asked: what is stored meanwhile is rather counted twice than not at all.
    const { dirtyBytes } = this.#volume.buffer
    const capacity = (await this.#options.capacity()) ?? { totalBytes: 0, freeBytes: 0 }
    const files = await attempt(() => this.#volume.inodes.numbers.inodeCount)
    const filesFree = Math.max(0, Math.min(filesFreeMax, this.#volume.inodes.inodesMax - files))
    const blocksFree = Math.floor(Math.max(0, capacity.freeBytes - dirtyBytes) / statBlockBytes)
    return {
      blockSizeBytes: statBlockBytes,
      blocks: Math.floor(capacity.totalBytes / statBlockBytes),
      blocksFree,
      blocksAvailable: blocksFree,
      files: files + filesFree,
      filesFree,
      nameBytesMax,
    }
  }
  /** What the store could take now, as far as it says. */
  async #freeBytes(): Promise<number> {
    const { dirtyBytes } = this.#volume.buffer
    const capacity = await this.#options.capacity()
    return capacity === null ? Number.POSITIVE_INFINITY : Math.max(0, capacity.freeBytes - dirtyBytes)
  }
  syncfs(): Promise<void> {
    return this.#volume.sync()
  }

  getxattr(node: NodeId, name: Buffer) {
    return this.#attributes.getxattr(node, name)
  }
  listxattr(node: NodeId, context: RequestContext) {
    return this.#attributes.listxattr(node, context)
  }
  setxattr(node: NodeId, name: Buffer, value: Buffer, flags: number) {
    return this.#attributes.setxattr(node, name, value, flags)
  }
  removexattr(node: NodeId, name: Buffer) {
    return this.#attributes.removexattr(node, name)
  }
}

function opened(made: MaybePromise<Entry>): MaybePromise<CreatedFile> {
  return made instanceof Promise ? made.then(entry => ({ ...entry, ...openedFile })) : { ...made, ...openedFile }
}
