import {
  AttrOutHead,
  CopyFileRangeOut,
  EntryOutHead,
  entryOutBytes,
  FuseAttr,
  FuseStatx,
  GetxattrOut,
  LseekOut,
  OpenOut,
  OutHeader,
  StatfsOut,
  StatxMask,
  StatxOutHead,
  WriteOut,
} from './abi.ts'
import { Errno, type ErrnoName } from './errno.ts'
import type { Attr, Entry, FilesystemStats, OpenFile } from './filesystem.ts'

/** How long the kernel may keep what it was told. We are the only mount of this filesystem, so: long. */
export interface Lifetimes {
  readonly entryTtlSeconds: number
  readonly attrTtlSeconds: number
}

const spare = Buffer.alloc(112)
const noParts: readonly Uint8Array[] = []

/** The body of the reply that is being built: filled and sent within one turn, so a session needs only one. */
export class Answer {
  readonly #lifetimes: Lifetimes
  readonly #head = Buffer.alloc(OutHeader.sizeBytes + StatxOutHead.sizeBytes + FuseStatx.sizeBytes)
  #bodyBytes = 0
  #parts = noParts
  /** As the kernel takes it: 0, or a negative errno. */
  #error = 0

  constructor(lifetimes: Lifetimes) {
    this.#lifetimes = lifetimes
  }

  entry(entry: Entry): void {
    this.#put(entryOutBytes, at => encodeEntry(entry, this.#lifetimes, this.#head, at))
  }

  attr(attr: Attr): void {
    const { attrTtlSeconds } = this.#lifetimes
    this.#put(AttrOutHead.sizeBytes, at =>
      AttrOutHead.encode({ attrTtlSeconds, attrTtlNanos: 0, padding: 0 }, this.#head, at),
    )
    this.#put(FuseAttr.sizeBytes, at => encodeAttr(attr, this.#head, at))
  }

  /** With the time of birth, where the filesystem keeps one. */
  statx(attr: Attr): void {
    const { attrTtlSeconds } = this.#lifetimes
    this.#put(StatxOutHead.sizeBytes, at =>
      StatxOutHead.encode({ attrTtlSeconds, attrTtlNanos: 0, flags: 0, spare: spare.subarray(0, 16) }, this.#head, at),
    )
    this.#put(FuseStatx.sizeBytes, at => encodeStatx(attr, this.#head, at))
  }

  open({ fh, openFlags }: OpenFile): void {
    this.#put(OpenOut.sizeBytes, at => OpenOut.encode({ fh, openFlags, padding: 0 }, this.#head, at))
  }

  written(sizeBytes: number): void {
    this.#put(WriteOut.sizeBytes, at => WriteOut.encode({ sizeBytes, padding: 0 }, this.#head, at))
  }

  seeked(offsetBytes: number): void {
    this.#put(LseekOut.sizeBytes, at => LseekOut.encode({ offsetBytes }, this.#head, at))
  }

  copied(copiedBytes: number): void {
    this.#put(CopyFileRangeOut.sizeBytes, at => CopyFileRangeOut.encode({ copiedBytes }, this.#head, at))
  }

  /** The length of an attribute, for a caller that asked with no room. */
  xattrSize(sizeBytes: number): void {
    this.#put(GetxattrOut.sizeBytes, at => GetxattrOut.encode({ sizeBytes, padding: 0 }, this.#head, at))
  }

  statfs(stats: FilesystemStats): void {
    const values = { ...stats, fragmentSizeBytes: stats.blockSizeBytes, padding: 0, spare: spare.subarray(0, 24) }
    this.#put(StatfsOut.sizeBytes, at => StatfsOut.encode(values, this.#head, at))
  }

  bytes(parts: readonly Uint8Array[]): void {
    this.#parts = parts
  }

  /** An error that is an everyday answer: a FuseError thrown for it costs more than the rest of its request. */
  refuse(code: ErrnoName): void {
    this.#error = -Errno[code]
  }

  /** @returns what goes on the wire; the answer is empty again afterwards */
  take(unique: bigint): { head: Buffer; parts: readonly Uint8Array[] } {
    const headBytes = OutHeader.sizeBytes + this.#bodyBytes
    const parts = this.#parts
    let lenBytes = headBytes
    for (const part of parts) lenBytes += part.length
    OutHeader.encode({ lenBytes, error: this.#error, unique }, this.#head)
    this.clear()
    return { head: this.#head.subarray(0, headBytes), parts }
  }

  clear(): void {
    this.#bodyBytes = 0
    this.#parts = noParts
    this.#error = 0
  }

  #put(sizeBytes: number, encode: (at: number) => void): void {
    encode(OutHeader.sizeBytes + this.#bodyBytes)
    this.#bodyBytes += sizeBytes
  }
}

/** Node 0: no such name, and the kernel may remember that; in READDIRPLUS: a name without its entry. */
export const noEntry: Entry = {
  generation: 0,
  attr: {
    nodeId: 0,
    sizeBytes: 0,
    blocks512: 0,
    atime: { seconds: 0, nanos: 0 },
    mtime: { seconds: 0, nanos: 0 },
    ctime: { seconds: 0, nanos: 0 },
    mode: 0,
    linkCount: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blockSizeBytes: 0,
  },
}

export function encodeEntry({ attr, generation }: Entry, lifetimes: Lifetimes, target: Buffer, at: number): void {
  const { entryTtlSeconds, attrTtlSeconds } = lifetimes
  const head = { nodeId: attr.nodeId, generation, entryTtlSeconds, attrTtlSeconds, entryTtlNanos: 0, attrTtlNanos: 0 }
  EntryOutHead.encode(head, target, at)
  encodeAttr(attr, target, at + EntryOutHead.sizeBytes)
}

function encodeAttr(attr: Attr, target: Buffer, at: number): void {
  const { nodeId: ino, sizeBytes: size, blocks512: blocks, atime, mtime, ctime } = attr
  const { mode, linkCount, uid, gid, rdev, blockSizeBytes } = attr
  const values = {
    ino,
    size,
    blocks,
    atime: atime.seconds,
    mtime: mtime.seconds,
    ctime: ctime.seconds,
    atimeNanos: atime.nanos,
    mtimeNanos: mtime.nanos,
    ctimeNanos: ctime.nanos,
    mode,
    linkCount,
    uid,
    gid,
    rdev,
    blockSizeBytes,
    flags: 0,
  }
  FuseAttr.encode(values, target, at)
}

function encodeStatx(attr: Attr, target: Buffer, at: number): void {
  const { nodeId: ino, sizeBytes: size, blocks512: blocks, atime, mtime, ctime, birthTime } = attr
  const { mode, linkCount, uid, gid, rdev, blockSizeBytes } = attr
  const values = {
    mask: StatxMask.basicStats | (birthTime === undefined ? 0 : StatxMask.birthTime),
    blockSizeBytes,
    attributes: 0n,
    linkCount,
    uid,
    gid,
    mode,
    spare0: 0,
    ino,
    size,
    blocks,
    attributesMask: 0n,
    atime: atime.seconds,
    atimeNanos: atime.nanos,
    atimeReserved: 0,
    birthTime: birthTime?.seconds ?? 0,
    birthTimeNanos: birthTime?.nanos ?? 0,
    birthTimeReserved: 0,
    ctime: ctime.seconds,
    ctimeNanos: ctime.nanos,
    ctimeReserved: 0,
    mtime: mtime.seconds,
    mtimeNanos: mtime.nanos,
    mtimeReserved: 0,
    // A device as 32 bits has its minor number in two parts (include/linux/kdev_t.h, new_encode_dev).
    rdevMajor: (rdev >>> 8) & 0xfff,
    rdevMinor: (rdev & 0xff) | ((rdev >>> 12) & 0xf_ff00),
    deviceMajor: 0,
    deviceMinor: 0,
    spare2: spare,
  }
  FuseStatx.encode(values, target, at)
}
