import type { Attr, NodeId, Timestamp } from '@qsfs/fuse/filesystem'
import type { ExtentList } from '../block/extents.ts'
import type { FileBuffer } from '../block/file-buffer.ts'

/** File types in `mode`: include/uapi/linux/stat.h. */
export const FileType = {
  mask: 0o170000,
  fifo: 0o010000,
  characterDevice: 0o020000,
  directory: 0o040000,
  blockDevice: 0o060000,
  regular: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
} as const
export const ModeBit = {
  setUid: 0o4000,
  setGid: 0o2000,
  sticky: 0o1000,
  groupExecute: 0o0010,
  permissions: 0o7777,
} as const

/** Chunks from `first` to `last` may hold extents; all others hold none. */
export interface ChunkSpan {
  readonly first: number
  readonly last: number
}

/** A file, directory or anything else with a number, as it is now in memory. */
export class Inode {
  readonly nodeId: NodeId
  mode: number
  uid = 0
  gid = 0
  linkCount = 0
  readonly generation = 0
  rdev = 0
  /** As callers see it: it covers bytes that are still in the write buffer. */
  sizeBytes = 0
  /** What a crash may leave: it grows only with bytes that are stored. */
  storedSizeBytes = 0
  /** No later transaction has named bytes of it; -1: none has. */
  bytesNamedInSeq = -1
  /** Bytes held by extents. */
  allocatedBytes = 0
  /** Of these, what the sum over all inodes holds already. */
  countedBytes = 0
  atime: Timestamp
  mtime: Timestamp
  ctime: Timestamp
  birthTime: Timestamp

  /** Directories: the directory that names this one, how many names it has, the seed of its name hashes. */
  parent: NodeId = 0
  nameCount = 0
  hashSeed = 0

  /** The extents of chunk 0 while they are few; null: they are in a record like all other chunks. */
  inlineExtents: ExtentList | null = []
  /** Chunks that have a record, and maybe a few that have not. Sorted. */
  chunkSpans: readonly ChunkSpan[] = []
  /** Extended attributes and, under the empty name, a symlink's target; null: they are in a record of their own. */
  inlineAttributes: ReadonlyMap<string, Buffer> | null = noAttributes

  /** Unwritten bytes; null: none. */
  buffer: FileBuffer | null = null
  /** Set while extents beyond the size are being freed; who wants to grow the file waits for it. */
  trimming: Promise<void> | null = null
  /** Where a sequential reader would go on, how far ahead of it blocks are being read, and where the last scout went. */
  readAhead: { nextOffset: number; aheadBytes: number; scoutedOffset: number } | null = null
  /** Counts what holds on to this object: it may not leave memory. */
  pins = 0

  constructor(nodeId: NodeId, mode: number, now: Timestamp) {
    this.nodeId = nodeId
    this.mode = mode
    this.atime = now
    this.mtime = now
    this.ctime = now
    this.birthTime = now
  }

  get type(): number {
    return this.mode & FileType.mask
  }
  get isDirectory(): boolean {
    return this.type === FileType.directory
  }
  get isRegular(): boolean {
    return this.type === FileType.regular
  }

  attr(): Attr {
    const sizeBytes = this.isDirectory ? directoryBytes : this.sizeBytes
    const { nodeId, atime, mtime, ctime, birthTime, mode, linkCount, uid, gid, rdev } = this
    const heldBytes = this.allocatedBytes + (this.buffer?.dirtyBytes ?? 0)
    const blocks512 = Math.ceil(heldBytes / 512)
    const times = { atime, mtime, ctime, birthTime }
    return { nodeId, sizeBytes, blocks512, ...times, mode, linkCount, uid, gid, rdev, blockSizeBytes }
  }
}

/** A directory has no bytes of its own; some programs take 0 for "broken". */
const directoryBytes = 4096
/** What stat(2) calls the best size for I/O. */
const blockSizeBytes = 128 * 1024

export const noAttributes: ReadonlyMap<string, Buffer> = new Map()

/** A wall-clock time as inodes keep it. */
export function timestampOf(nowMs: number): Timestamp {
  const seconds = Math.floor(nowMs / 1000)
  return { seconds, nanos: Math.min(999_999_999, Math.round((nowMs - seconds * 1000) * 1e6)) }
}
