/** What an application implements to be served through FUSE: by the kernel session, by the fuse-native adapter, or by a
 *  test without a mount. One method per operation. Each returns its result, or a promise of it when it must wait:
 *  an answer from memory stays synchronous, because a turn of the event loop costs more than most answers.
 *
 *  A failure is a thrown (or rejected) FuseError with an errno; anything else is logged and answered EIO.
 *  Bytes handed in (`data`, names) are borrowed: valid until the method settles; to keep them is to copy them.
 *  Names are raw bytes without '/' and NUL, 1..255 long; they need not be UTF-8. */
export interface Filesystem {
  /** It keeps POSIX ACLs in its attributes and inherits the default ACL itself: then the kernel checks them, and the
   *  five that make a name get an unmasked mode, with `context.umask`. */
  readonly wantsPosixAcl?: boolean
  /** It answers OPEN and OPENDIR with ENOSYS: the kernel then opens without asking and never sends RELEASE. So truncation
   *  by open(2) must come as a SETATTR: ATOMIC_O_TRUNC is not negotiated. */
  readonly opensSilently?: boolean

  /** Called once after INIT was answered. `pages`: where a kernel keeps pages of ours, which fuse-native hides. */
  init?(connection: ConnectionInfo, pages?: KernelPages): void
  /** Called once when the mount goes away; flush and close here. */
  destroy?(): MaybePromise<void>

  /** null: no such name; the kernel may remember that for `entryTtlSeconds`. Raises the node's lookup count by one. */
  lookup(parent: NodeId, name: Buffer, context: RequestContext): MaybePromise<Entry | null>
  /** The kernel drops `count` of its references. No reply, never fails. */
  forget(node: NodeId, count: number): void
  getattr(node: NodeId, context: RequestContext): MaybePromise<Attr>
  setattr(node: NodeId, change: AttrChange, context: RequestContext): MaybePromise<Attr>
  readlink(node: NodeId, context: RequestContext): MaybePromise<Buffer>

  /** The five that make a name; each raises the new node's lookup count by one. `mode` has the type bits and is already masked by umask. */
  mknod(parent: NodeId, name: Buffer, mode: number, rdev: number, context: RequestContext): MaybePromise<Entry>
  mkdir(parent: NodeId, name: Buffer, mode: number, context: RequestContext): MaybePromise<Entry>
  symlink(parent: NodeId, name: Buffer, target: Buffer, context: RequestContext): MaybePromise<Entry>
  link(node: NodeId, newParent: NodeId, newName: Buffer, context: RequestContext): MaybePromise<Entry>
  create(parent: NodeId, name: Buffer, mode: number, flags: number, context: RequestContext): MaybePromise<CreatedFile>
  /** O_TMPFILE: a file without a name, open; `link` may give it one while it is. Absent: EOPNOTSUPP. */
  tmpfile?(parent: NodeId, mode: number, flags: number, context: RequestContext): MaybePromise<CreatedFile>

  unlink(parent: NodeId, name: Buffer, context: RequestContext): MaybePromise<void>
  rmdir(parent: NodeId, name: Buffer, context: RequestContext): MaybePromise<void>
  /** `flags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4; EINVAL for what is not supported. */
  rename(
    parent: NodeId,
    name: Buffer,
    newParent: NodeId,
    newName: Buffer,
    flags: number,
    context: RequestContext,
  ): MaybePromise<void>

  /** `flags` as open(2) has them, without O_CREAT, O_EXCL and O_TRUNC: a truncation came as `setattr` just before. */
  open(node: NodeId, flags: number, context: RequestContext): MaybePromise<OpenFile>
  /** At most `sizeBytes` bytes; fewer only at the end of the file. The parts are sent in order and may be views the
   *  filesystem keeps, as long as they do not change before the next turn of the event loop. */
  read(
    node: NodeId,
    fh: FileHandle,
    offsetBytes: number,
    sizeBytes: number,
    context: RequestContext,
  ): MaybePromise<readonly Uint8Array[]>
  /** All of `data` or an error. A filesystem whose buffer is full returns a promise and settles it when there is room
   *  or the deadline has passed; it copies `data` before it returns that promise: `data` is the buffer that the next
   *  request is read into. */
  write(
    node: NodeId,
    fh: FileHandle,
    offsetBytes: number,
    data: Buffer,
    flags: WriteFlags,
    context: RequestContext,
  ): MaybePromise<void>
  /** Asked at each close(2), and its errors are seen there. Absent: the kernel asks once and never again, while dirty
   *  pages are still written at close. */
  flush?(node: NodeId, fh: FileHandle, context: RequestContext): MaybePromise<void>
  fsync(node: NodeId, fh: FileHandle, dataOnly: boolean, context: RequestContext): MaybePromise<void>
  release(node: NodeId, fh: FileHandle): MaybePromise<void>
  fallocate?(
    node: NodeId,
    fh: FileHandle,
    offsetBytes: number,
    lengthBytes: number,
    mode: number,
    context: RequestContext,
  ): MaybePromise<void>
  /** The first byte of data (`whence` SEEK_DATA 3) or of a hole (SEEK_HOLE 4) from `offsetBytes` on; the end of the file is a
   *  hole. ENXIO beyond it. Absent: the kernel takes every file for data. */
  lseek?(
    node: NodeId,
    fh: FileHandle,
    offsetBytes: number,
    whence: number,
    context: RequestContext,
  ): MaybePromise<number>
  /** The kernel has written back both ranges. @returns how many bytes were copied: fewer at the end of the source only, or
   *  when more would take too long; 0 at the end. Absent: the caller copies. */
  copyFileRange?(from: FileRange, to: FilePlace, context: RequestContext): MaybePromise<number>

  opendir(node: NodeId, context: RequestContext): MaybePromise<OpenFile>
  /** Names from `cursor` on (0n = the start), '.' and '..' included, until `fill` returns false for one: that one is
   *  asked for again. With `withEntries` each name comes with its Entry and the lookup count of every name that `fill`
   *  took ('.' and '..' excepted) is raised by one. */
  readdir(
    node: NodeId,
    fh: FileHandle,
    cursor: bigint,
    withEntries: boolean,
    fill: FillDirectory,
    context: RequestContext,
  ): MaybePromise<void>
  fsyncdir(node: NodeId, fh: FileHandle, dataOnly: boolean, context: RequestContext): MaybePromise<void>
  releasedir(node: NodeId, fh: FileHandle): MaybePromise<void>

  statfs(context: RequestContext): MaybePromise<FilesystemStats>
  syncfs?(context: RequestContext): MaybePromise<void>

  /** null: there is no such attribute. The kernel asks for one before the first write to each file. */
  getxattr(node: NodeId, name: Buffer, context: RequestContext): MaybePromise<Buffer | null>
  /** All names, each ended by NUL. */
  listxattr(node: NodeId, context: RequestContext): MaybePromise<Buffer>
  /** `flags`: XATTR_CREATE 1, XATTR_REPLACE 2. */
  setxattr(node: NodeId, name: Buffer, value: Buffer, flags: number, context: RequestContext): MaybePromise<void>
  removexattr(node: NodeId, name: Buffer, context: RequestContext): MaybePromise<void>
}

export type MaybePromise<T> = T | Promise<T>
/** The inode number; the root is 1. */
export type NodeId = number
/** Chosen by the filesystem at open; 0 means it needs none. A safe integer. */
export type FileHandle = number

export interface FilePlace {
  readonly node: NodeId
  readonly offsetBytes: number
}
export interface FileRange extends FilePlace {
  readonly lengthBytes: number
}

/** The pages of our files that the kernel keeps. */
export interface KernelPages {
  /** Writes dirty pages of the range back (they come as WRITEs meanwhile), then forgets all of its pages.
   *  `lengthBytes` 0: to the end. */
  writeBack(node: NodeId, offsetBytes: number, lengthBytes: number): Promise<void>
}

export interface RequestContext {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  /** Only where a name is made and `wantsPosixAcl`; else the kernel has masked the mode. */
  readonly umask?: number
  /** The kernel's number of this request, and whether it was sent before, to a process that died (see ConnectionInfo).
   *  Absent where no kernel session calls. */
  readonly unique?: bigint
  readonly resent?: boolean
  /** Aborted when the caller was interrupted: a waiting operation may then fail with EINTR. Made on first use. */
  readonly signal: AbortSignal
}

export interface ConnectionInfo {
  readonly maxWriteBytes: number
  readonly writebackCache: boolean
  /** The kernel can be asked to send again what a dead process left unanswered. */
  readonly hasResend: boolean
  /** The mount was served before by another process: open files and lookup counts are from its time. */
  readonly resumed: boolean
}

/** Time as whole seconds since 1970 (may be negative) and nanoseconds 0..999,999,999. */
export interface Timestamp {
  readonly seconds: number
  readonly nanos: number
}

export interface Attr {
  readonly nodeId: NodeId
  readonly sizeBytes: number
  /** In units of 512 bytes, as stat(2) counts. */
  readonly blocks512: number
  readonly atime: Timestamp
  readonly mtime: Timestamp
  readonly ctime: Timestamp
  /** Type and permission bits. */
  readonly mode: number
  readonly linkCount: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  readonly blockSizeBytes: number
  /** When it was made; absent: nobody knows. */
  readonly birthTime?: Timestamp
}

export interface Entry {
  readonly attr: Attr
  readonly generation: number
}

export interface OpenFile {
  readonly fh: FileHandle
  /** FOPEN_* bits of the kernel ABI, e.g. FOPEN_KEEP_CACHE 2, FOPEN_CACHE_DIR 8. */
  readonly openFlags: number
}

export interface CreatedFile extends Entry, OpenFile {}

/** What setattr changes; absent fields stay. */
export interface AttrChange {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly sizeBytes?: number
  readonly atime?: Timestamp | 'now'
  readonly mtime?: Timestamp | 'now'
  readonly ctime?: Timestamp
  /** The open file the change came through (ftruncate), when the kernel says so. */
  readonly fh?: FileHandle
  /** HANDLE_KILLPRIV_V2: unless it is a directory, drop setuid, and setgid where the group may execute, along with this
   *  change. Set for a chown always, for a truncation when the caller has no CAP_FSETID. */
  readonly killPrivileges?: boolean
}

export interface WriteFlags {
  /** The bytes come from the kernel's write-back cache: the caller's identity is not the writer's. */
  readonly fromCache: boolean
  readonly killPrivileges: boolean
}

/** @returns false when the name did not fit: stop, and do not count it. `nextCursor` continues after this name. */
export type FillDirectory = (
  name: Buffer,
  nodeId: NodeId,
  mode: number,
  nextCursor: bigint,
  entry: Entry | null,
) => boolean

export interface FilesystemStats {
  readonly blockSizeBytes: number
  readonly blocks: number
  readonly blocksFree: number
  readonly blocksAvailable: number
  readonly files: number
  readonly filesFree: number
  readonly nameBytesMax: number
}
