import type { Layout, Values } from '@qsfs/bytes/layout'
import * as abi from './abi.ts'

/** What the kernel sends for one opcode (fuse.h:516): after the header the in-struct, then so many names, each ended by
 *  NUL, then whatever is left as data. */
export interface OpcodeRow<L extends Layout<never> | null = Layout<never> | null> {
  readonly opcode: number
  readonly in: L
  readonly nameCount: number
  /** FORGET and its kin are never answered. */
  readonly replies: boolean
}

export const opcodes = {
  LOOKUP: row(1, null, 1),
  FORGET: row(2, abi.ForgetIn, 0, false),
  GETATTR: row(3, null, 0),
  SETATTR: row(4, abi.SetattrIn, 0),
  READLINK: row(5, null, 0),
  SYMLINK: row(6, null, 2),
  MKNOD: row(8, abi.MknodIn, 1),
  MKDIR: row(9, abi.MkdirIn, 1),
  UNLINK: row(10, null, 1),
  RMDIR: row(11, null, 1),
  RENAME: row(12, abi.RenameIn, 2),
  LINK: row(13, abi.LinkIn, 1),
  OPEN: row(14, abi.OpenIn, 0),
  READ: row(15, abi.ReadIn, 0),
  WRITE: row(16, abi.WriteIn, 0),
  STATFS: row(17, null, 0),
  RELEASE: row(18, abi.ReleaseIn, 0),
  FSYNC: row(20, abi.FsyncIn, 0),
  SETXATTR: row(21, abi.SetxattrIn, 1),
  GETXATTR: row(22, abi.GetxattrIn, 1),
  LISTXATTR: row(23, abi.GetxattrIn, 0),
  REMOVEXATTR: row(24, null, 1),
  FLUSH: row(25, abi.FlushIn, 0),
  INIT: row(26, null, 0),
  OPENDIR: row(27, abi.OpenIn, 0),
  READDIR: row(28, abi.ReaddirIn, 0),
  RELEASEDIR: row(29, abi.ReleaseIn, 0),
  FSYNCDIR: row(30, abi.FsyncIn, 0),
  CREATE: row(35, abi.CreateIn, 1),
  INTERRUPT: row(36, abi.InterruptIn, 0, false),
  DESTROY: row(38, null, 0),
  BATCH_FORGET: row(42, abi.BatchForgetIn, 0, false),
  FALLOCATE: row(43, abi.FallocateIn, 0),
  READDIRPLUS: row(44, abi.ReaddirIn, 0),
  RENAME2: row(45, abi.Rename2In, 2),
  LSEEK: row(46, abi.LseekIn, 0),
  COPY_FILE_RANGE: row(47, abi.CopyFileRangeIn, 0),
  SYNCFS: row(50, null, 0),
  TMPFILE: row(51, abi.CreateIn, 1),
  STATX: row(52, abi.StatxIn, 0),
  COPY_FILE_RANGE_64: row(53, abi.CopyFileRangeIn, 0),
} as const

export type OpcodeName = keyof typeof opcodes
/** The decoded in-struct of an opcode. */
export type InOf<N extends OpcodeName> = Values<(typeof opcodes)[N]['in']>

/** The name of an opcode we know, or null. */
export function opcodeNameOf(opcode: number): OpcodeName | null {
  return nameByOpcode[opcode] ?? null
}

const nameByOpcode: (OpcodeName | undefined)[] = []
for (const [name, { opcode }] of Object.entries(opcodes)) nameByOpcode[opcode] = name as OpcodeName

function row<const L>(opcode: number, inLayout: L, nameCount: number, replies = true) {
  return { opcode, in: inLayout, nameCount, replies }
}
