/** The bits of INIT, by number: fuse.h:366, and from 39 on protocol 7.40 and later. Those from 32 on travel in `flags2`. */
export const InitBit = {
  ASYNC_READ: 0,
  POSIX_LOCKS: 1,
  ATOMIC_O_TRUNC: 3,
  EXPORT_SUPPORT: 4,
  BIG_WRITES: 5,
  DONT_MASK: 6,
  SPLICE_WRITE: 7,
  SPLICE_MOVE: 8,
  SPLICE_READ: 9,
  FLOCK_LOCKS: 10,
  HAS_IOCTL_DIR: 11,
  AUTO_INVAL_DATA: 12,
  DO_READDIRPLUS: 13,
  READDIRPLUS_AUTO: 14,
  ASYNC_DIO: 15,
  WRITEBACK_CACHE: 16,
  NO_OPEN_SUPPORT: 17,
  PARALLEL_DIROPS: 18,
  HANDLE_KILLPRIV: 19,
  POSIX_ACL: 20,
  ABORT_ERROR: 21,
  MAX_PAGES: 22,
  CACHE_SYMLINKS: 23,
  NO_OPENDIR_SUPPORT: 24,
  EXPLICIT_INVAL_DATA: 25,
  MAP_ALIGNMENT: 26,
  SUBMOUNTS: 27,
  HANDLE_KILLPRIV_V2: 28,
  SETXATTR_EXT: 29,
  INIT_EXT: 30,
  SECURITY_CTX: 32,
  HAS_INODE_DAX: 33,
  CREATE_SUPP_GROUP: 34,
  HAS_EXPIRE_ONLY: 35,
  DIRECT_IO_ALLOW_MMAP: 36,
  PASSTHROUGH: 37,
  NO_EXPORT_SUPPORT: 38,
  HAS_RESEND: 39,
  ALLOW_IDMAP: 40,
  OVER_IO_URING: 41,
  REQUEST_TIMEOUT: 42,
} as const
export type InitFlag = keyof typeof InitBit

/** The two words of flags as a set of names. Bits without a name are left out: what we do not know we do not accept. */
export function initFlagsOf(flags: number, flags2: number): Set<InitFlag> {
  const names = Object.keys(InitBit) as InitFlag[]
  return new Set(names.filter(name => ((wordOf(name) === 0 ? flags : flags2) >>> (InitBit[name] % 32)) & 1))
}

export function initWordsOf(names: Iterable<InitFlag>): { flags: number; flags2: number } {
  const words: [number, number] = [0, 0]
  for (const name of names) words[wordOf(name)] |= 1 << (InitBit[name] % 32)
  return { flags: words[0] >>> 0, flags2: words[1] >>> 0 }
}

function wordOf(name: InitFlag): 0 | 1 {
  return InitBit[name] < 32 ? 0 : 1
}
