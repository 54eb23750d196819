import { Errno, FuseError } from './errno.ts'
import type { Attr, FileHandle, Filesystem, NodeId, RequestContext, Timestamp } from './filesystem.ts'
import { clearStaleMount, MountError, type MountOptions, mountingUser, requireEmptyDirectory } from './mount.ts'
import { PathNodes } from './path-nodes.ts'

// The same Filesystem through fuse-native 2.2.6, that is libfuse2 and its setuid helper: for users without privilege.
// It works in paths, and cannot give what the kernel session gives:
// - the caller's uid and gid: everything belongs to the user who mounted, and that user's rights decide;
// - nanoseconds (milliseconds only), times before 1970, names that are not UTF-8 (U+FFFD instead);
// - RENAME_NOREPLACE and RENAME_EXCHANGE, fallocate (libc writes zeros), O_TMPFILE, SEEK_HOLE, syncfs;
// - INTERRUPT: Ctrl-C in a hanging read waits for its deadline; the write-back cache, readdirplus;
// - ERANGE for an extended attribute that is longer than the caller's room: it does not tell how much that is;
// - to survive a SIGKILL of its process: the mount dies with it. A file unlinked while open is a `.fuse_hidden*`.

/** What we use of the package, which has no types. Errors are negative errnos; read and write call back with a length. */
type Callback<T extends readonly unknown[] = []> = (errno: number, ...result: T | []) => void
interface NativeFuse {
  mount(done: (error: Error | null) => void): void
  unmount(done: (error: Error | null) => void): void
}
type NativeFuseConstructor = new (mountpoint: string, operations: object, options: object) => NativeFuse

export interface FuseNativeMount {
  readonly mountpoint: string
  /** Takes the mount away and calls the filesystem's `destroy`. */
  unmount(): Promise<void>
}

/** libfuse2's options that fuse-native has no name for travel behind `fsname`, which it passes on as it is: 4 KiB writes
 *  24 MB/s without them, 245-304 with. 128 KiB is the most libfuse2 reads or writes at once. */
const libfuseOptions = 'big_writes,max_write=131072,use_ino,negative_timeout=3600,attr_timeout=0,auto_cache'
const pathsMax = 16_384

/** Serves `filesystem` until `unmount`. @throws MountError */
export async function serveFuseNative(filesystem: Filesystem, options: MountOptions): Promise<FuseNativeMount> {
  const { mountpoint, fsname, allowOther, log } = options
  const Fuse = await loadFuseNative()
  await clearStaleMount(mountpoint)
  await requireEmptyDirectory(mountpoint)
  const adapter = new FuseNativeAdapter(filesystem, error => log.error('fuse.operation_failed', { error }))
  const fuse = new Fuse(mountpoint, adapter.operations(), {
    fsname: `${fsname},${libfuseOptions}`,
    // Its default gives up on an operation after 15 s; deadlines are the filesystem's.
    timeout: false,
    defaultPermissions: true,
    allowOther,
    // Names change through us alone. Attributes and pages are another thing (libfuseOptions): to libfuse2 two hard links are two
    // files, so what one of them changes the kernel would not see in the other.
    entryTimeout: 3600,
  })
  try {
    await called(done => fuse.mount(done))
  } catch (cause) {
    const hint = allowOther ? ' and user_allow_other in /etc/fuse.conf' : ''
    const needs = `it takes fusermount (Debian: fuse3), a /dev/fuse that may be opened${hint}`
    throw new MountError(1, `fuse-native could not mount ${mountpoint}: ${needs}`, { cause })
  }
  const limits = { maxWriteBytes: 131_072, writebackCache: false, hasResend: false, resumed: false }
  filesystem.init?.(limits)
  return {
    mountpoint,
    async unmount() {
      await called(done => fuse.unmount(done))
      adapter.close()
      await filesystem.destroy?.()
    },
  }
}

async function loadFuseNative(): Promise<NativeFuseConstructor> {
  // By a name in a variable: an optional dependency without types, loaded when it is chosen.
  const packageName = 'fuse-native'
  try {
    const loaded: { default: NativeFuseConstructor } = await import(packageName)
    return loaded.default
  } catch (cause) {
    throw new MountError(1, 'the package fuse-native or its libfuse2 is missing (Debian: libfuse2)', { cause })
  }
}

class FuseNativeAdapter {
  readonly #filesystem: Filesystem
  readonly #onError: (error: unknown) => void
  readonly #nodes: PathNodes
  readonly #context: RequestContext
  /** Open files and directories by the 32-bit number that libfuse2 carries for us. */
  readonly #open = new Map<number, { readonly node: NodeId; readonly fh: FileHandle }>()
  #nextOpen = 1

  constructor(filesystem: Filesystem, onError: (error: unknown) => void) {
    this.#filesystem = filesystem
    this.#onError = onError
    this.#context = { ...mountingUser(), pid: 0, signal: new AbortController().signal }
    this.#nodes = new PathNodes(filesystem, this.#context, { pathsMax })
  }

  close(): void {
    for (const { node } of this.#open.values()) this.#nodes.release(node)
    this.#open.clear()
    this.#nodes.clear()
  }

  /** One method per operation of fuse-native, by its names. */
  operations(): object {
    return { ...this.#attributes(), ...this.#names(), ...this.#files(), ...this.#extendedAttributes() }
  }

  #attributes() {
    const filesystem = this.#filesystem
    const nodes = this.#nodes
    const context = this.#context
    type Change = Parameters<Filesystem['setattr']>[1]
    const change = (path: string, done: Callback, what: Change) =>
      this.#run(done, async () => void (await filesystem.setattr(await nodes.node(path), what, context)))
    return {
      getattr: (path: string, done: Callback<[object]>) => this.#run(done, async () => stat(await nodes.attr(path))),
      fgetattr: (_path: string, id: number, done: Callback<[object]>) =>
        this.#run(done, async () => stat(await filesystem.getattr(this.#opened(id).node, context))),
      truncate: (path: string, sizeBytes: number, done: Callback) => change(path, done, { sizeBytes }),
      ftruncate: (_path: string, id: number, sizeBytes: number, done: Callback) =>
        this.#run(done, async () => {
          const { node, fh } = this.#opened(id)
          await filesystem.setattr(node, { sizeBytes, fh }, context)
        }),
      utimens: (path: string, atimeMs: number, mtimeMs: number, done: Callback) =>
        change(path, done, { atime: timestamp(atimeMs), mtime: timestamp(mtimeMs) }),
      chmod: (path: string, mode: number, done: Callback) => change(path, done, { mode }),
      chown: (path: string, uid: number, gid: number, done: Callback) =>
        change(path, done, { ...given('uid', uid), ...given('gid', gid), killPrivileges: true }),
      statfs: (_path: string, done: Callback<[object]>) =>
        this.#run(done, async () => {
          const stats = await filesystem.statfs(context)
          return {
            bsize: stats.blockSizeBytes,
            frsize: stats.blockSizeBytes,
            blocks: stats.blocks,
            bfree: stats.blocksFree,
            bavail: stats.blocksAvailable,
            files: stats.files,
            ffree: stats.filesFree,
            favail: stats.filesFree,
            namemax: stats.nameBytesMax,
          }
        }),
    }
  }

  #names() {
    const filesystem = this.#filesystem
    const nodes = this.#nodes
    const context = this.#context
    const add = (
      path: string,
      done: Callback,
      make: (parent: NodeId, name: Buffer) => ReturnType<Filesystem['mknod']>,
    ) =>
      this.#run(done, async () => {
        const { parent, name } = await nodes.place(path)
        nodes.remember(path, await make(parent, name))
      })
    const remove = (path: string, done: Callback, how: 'unlink' | 'rmdir') =>
      this.#run(done, async () => {
        const { parent, name } = await nodes.place(path)
        await filesystem[how](parent, name, context)
        nodes.invalidate(path)
      })
    return {
      mknod: (path: string, mode: number, rdev: number, done: Callback) =>
        add(path, done, (parent, name) => filesystem.mknod(parent, name, mode, rdev, context)),
      mkdir: (path: string, mode: number, done: Callback) =>
        add(path, done, (parent, name) => filesystem.mkdir(parent, name, (mode & 0o7777) | directoryType, context)),
      symlink: (target: string, path: string, done: Callback) =>
        add(path, done, (parent, name) => filesystem.symlink(parent, name, Buffer.from(target), context)),
      link: (from: string, path: string, done: Callback) =>
        add(path, done, async (parent, name) => filesystem.link(await nodes.node(from), parent, name, context)),
      readlink: (path: string, done: Callback<[string]>) =>
        this.#run(done, async () => (await filesystem.readlink(await nodes.node(path), context)).toString()),
      unlink: (path: string, done: Callback) => remove(path, done, 'unlink'),
      rmdir: (path: string, done: Callback) => remove(path, done, 'rmdir'),
      rename: (from: string, to: string, done: Callback) =>
        this.#run(done, async () => {
          const [source, target] = [await nodes.place(from), await nodes.place(to)]
          await filesystem.rename(source.parent, source.name, target.parent, target.name, 0, context)
          nodes.invalidate(from)
          nodes.invalidate(to)
        }),
      readdir: (path: string, done: Callback<[string[]]>) => this.#run(done, () => this.#readdir(path)),
    }
  }

  #files() {
    const filesystem = this.#filesystem
    const nodes = this.#nodes
    const context = this.#context
    return {
      create: (path: string, mode: number, done: Callback<[number]>) =>
        this.#run(done, async () => {
          const { parent, name } = await nodes.place(path)
          const created = await filesystem.create(parent, name, (mode & 0o7777) | fileType, openReadWrite, context)
          nodes.remember(path, created)
          return this.#keep(await nodes.hold(path), created.fh)
        }),
      open: (path: string, flags: number, done: Callback<[number]>) =>
        this.#run(done, async () => {
          const node = await nodes.hold(path)
          try {
            return this.#keep(node, (await filesystem.open(node, flags, context)).fh)
          } catch (error) {
            nodes.release(node)
            throw error
          }
        }),
      read: (_path: string, id: number, into: Buffer, sizeBytes: number, offsetBytes: number, done: Callback) =>
        this.#transfer(done, async () => {
          const { node, fh } = this.#opened(id)
          const parts = await filesystem.read(node, fh, offsetBytes, sizeBytes, context)
          let atBytes = 0
          for (const part of parts) {
            into.set(part, atBytes)
            atBytes += part.length
          }
          return atBytes
        }),
      write: (_path: string, id: number, bytes: Buffer, sizeBytes: number, offsetBytes: number, done: Callback) =>
        this.#transfer(done, async () => {
          const { node, fh } = this.#opened(id)
          const flags = { fromCache: false, killPrivileges: true }
          await filesystem.write(node, fh, offsetBytes, bytes.subarray(0, sizeBytes), flags, context)
          return sizeBytes
        }),
      fsync: (_path: string, dataOnly: number, id: number, done: Callback) =>
        this.#run(done, async () => {
          const { node, fh } = this.#opened(id)
          await filesystem.fsync(node, fh, dataOnly !== 0, context)
        }),
      flush: (_path: string, id: number, done: Callback) =>
        this.#run(done, async () => {
          const { node, fh } = this.#opened(id)
          await filesystem.flush?.(node, fh, context)
        }),
      release: (_path: string, id: number, done: Callback) =>
        this.#run(done, async () => {
          const { node, fh } = this.#opened(id)
          this.#open.delete(id)
          await filesystem.release(node, fh)
          nodes.release(node)
        }),
    }
  }

  #extendedAttributes() {
    const filesystem = this.#filesystem
    const nodes = this.#nodes
    const context = this.#context
    type Bytes = Callback<[Buffer]>
    return {
      getxattr: (path: string, name: string, _position: number, done: Bytes) =>
        this.#run(done, async () => {
          const value = await filesystem.getxattr(await nodes.node(path), Buffer.from(name), context)
          if (value === null) throw new FuseError('ENODATA')
          return value
        }),
      setxattr: (path: string, name: string, value: Buffer, _position: number, flags: number, done: Callback) =>
        this.#run(done, async () => {
          await filesystem.setxattr(await nodes.node(path), Buffer.from(name), value, flags, context)
        }),
      listxattr: (path: string, done: Callback<[string[]]>) =>
        this.#run(done, async () => {
          const names = await filesystem.listxattr(await nodes.node(path), context)
          return names.toString().split('\0').slice(0, -1)
        }),
      removexattr: (path: string, name: string, done: Callback) =>
        this.#run(done, async () => {
          await filesystem.removexattr(await nodes.node(path), Buffer.from(name), context)
        }),
    }
  }

  async #readdir(path: string): Promise<string[]> {
    const node = await this.#nodes.node(path)
    const { fh } = await this.#filesystem.opendir(node, this.#context)
    const names: string[] = []
    const fill = (name: Buffer) => names.push(name.toString()) > 0
    await this.#filesystem.readdir(node, fh, 0n, false, fill, this.#context)
    await this.#filesystem.releasedir(node, fh)
    return names
  }

  #keep(node: NodeId, fh: FileHandle): number {
    const id = this.#nextOpen++
    this.#open.set(id, { node, fh })
    return id
  }

  #opened(id: number): { readonly node: NodeId; readonly fh: FileHandle } {
    const open = this.#open.get(id)
    if (open === undefined) throw new FuseError('EBADF')
    return open
  }

  async #run<T>(done: Callback<[T]> | Callback, work: () => Promise<T>): Promise<void> {
    let value: T
    try {
      value = await work()
    } catch (error) {
      done(this.#errnoOf(error))
      return
    }
    const answer = done as Callback<[T]>
    answer(0, value)
  }

  /** read and write answer with a length in the place of the errno. */
  async #transfer(done: Callback, work: () => Promise<number>): Promise<void> {
    try {
      done(await work())
    } catch (error) {
      done(this.#errnoOf(error))
    }
  }

  #errnoOf(error: unknown): number {
    if (error instanceof FuseError) return -error.errno
    this.#onError(error)
    return -Errno.EIO
  }
}

const directoryType = 0o40000
const fileType = 0o100000
const openReadWrite = 2

/** chown(2)'s "leave it": -1 as 32 bits. */
function given<K extends 'uid' | 'gid'>(key: K, id: number): { readonly [P in K]?: number } {
  return id >>> 0 === 0xffff_ffff ? {} : ({ [key]: id } as { [P in K]: number })
}

function stat(attr: Attr): object {
  return {
    ino: attr.nodeId,
    size: attr.sizeBytes,
    blocks: attr.blocks512,
    atime: milliseconds(attr.atime),
    mtime: milliseconds(attr.mtime),
    ctime: milliseconds(attr.ctime),
    mode: attr.mode,
    nlink: attr.linkCount,
    uid: attr.uid,
    gid: attr.gid,
    rdev: attr.rdev,
    blksize: attr.blockSizeBytes,
  }
}

function milliseconds({ seconds, nanos }: Timestamp): number {
  return seconds * 1000 + Math.floor(nanos / 1e6)
}

function timestamp(ms: number): Timestamp {
  const seconds = Math.floor(ms / 1000)
  return { seconds, nanos: Math.round(ms - seconds * 1000) * 1_000_000 }
}

function called(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => start(error => (error === null ? resolve() : reject(error))))
}
