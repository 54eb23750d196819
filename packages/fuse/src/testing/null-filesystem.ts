import { FuseError } from '../errno.ts'
import type {
  Attr,
  CreatedFile,
  Entry,
  Filesystem,
  FilesystemStats,
  FillDirectory,
  NodeId,
  OpenFile,
} from '../filesystem.ts'

const never = { seconds: 0, nanos: 0 }
const keepCache = 2
const opened: OpenFile = { fh: 0, openFlags: keepCache }

/** Stores nothing, to measure the way to it: every name is a file that swallows what is written and reads as zeros.
 *  A name that ends in `-<digits>` has that many bytes. Names that begin with a dot do not exist. */
export class NullFilesystem implements Filesystem {
  readonly #zeros = Buffer.alloc(1024 * 1024)
  readonly #sizeOf = new Map<NodeId, number>()
  #nextNode = 2

  lookup(_parent: NodeId, name: Buffer): Entry | null {
    if (name[0] === 46) return null
    const node = this.#nextNode++
    this.#sizeOf.set(node, Number(/-(\d+)$/.exec(name.toString('latin1'))?.[1] ?? 0))
    return { attr: this.getattr(node), generation: 0 }
  }

  forget(node: NodeId): void {
    this.#sizeOf.delete(node)
  }

  getattr(nodeId: NodeId): Attr {
    const directory = nodeId === 1
    return {
      nodeId,
      sizeBytes: this.#sizeOf.get(nodeId) ?? 0,
      blocks512: 0,
      atime: never,
      mtime: never,
      ctime: never,
      mode: directory ? 0o40755 : 0o100644,
      linkCount: directory ? 2 : 1,
      uid: 0,
      gid: 0,
      rdev: 0,
      blockSizeBytes: 4096,
    }
  }

  setattr(node: NodeId): Attr {
    return this.getattr(node)
  }

  create(parent: NodeId, name: Buffer): CreatedFile {
    const entry = this.lookup(parent, name)
    if (entry === null) throw new FuseError('EPERM')
    return { ...entry, ...opened }
  }

  open(): OpenFile {
    return opened
  }

  read(_node: NodeId, _fh: number, _offsetBytes: number, sizeBytes: number): readonly Uint8Array[] {
    return [this.#zeros.subarray(0, sizeBytes)]
  }

  write(): void {}
  fsync(): void {}
  release(): void {}
  unlink(): void {}

  opendir(): OpenFile {
    return { fh: 0, openFlags: 0 }
  }

  readdir(_node: NodeId, _fh: number, cursor: bigint, _withEntries: boolean, fill: FillDirectory): void {
    const names = ['.', '..']
    for (let i = Number(cursor); i < names.length; i++) {
      if (!fill(Buffer.from(names[i]!), 1, 0o40755, BigInt(i + 1), null)) return
    }
  }

  fsyncdir(): void {}
  releasedir(): void {}

  statfs(): FilesystemStats {
    const plenty = 2 ** 32
    return {
      blockSizeBytes: 4096,
      blocks: plenty,
      blocksFree: plenty,
      blocksAvailable: plenty,
      files: plenty,
      filesFree: plenty,
      nameBytesMax: 255,
    }
  }

  readlink = unsupported
  mknod = unsupported
  mkdir = unsupported
  symlink = unsupported
  link = unsupported
  rmdir = unsupported
  rename = unsupported
  getxattr = unsupported
  listxattr = unsupported
  setxattr = unsupported
  removexattr = unsupported
}

function unsupported(): never {
  throw new FuseError('EOPNOTSUPP')
}
