import { layout } from '@qsfs/bytes/layout'

// The kernel's structs. "fuse.h:n" is the line of include/uapi/linux/fuse.h of Linux 6.1 (protocol 7.38); what came
// later, up to 7.45 of Linux 6.18, says so. The pages of docs/formats are for our own bytes: these are the kernel's.

export const protocolMajor = 7
export const protocolMinorMax = 45
/** The oldest minor whose structs are those below: 7.23 made init_out 64 bytes long (Linux 3.15). */
export const protocolMinorMin = 23

/** fuse.h:891 */
export const InHeader = layout('fuse_in_header', 40, {
  lenBytes: [0, 'u32'],
  opcode: [4, 'u32'],
  unique: [8, 'u64'],
  nodeId: [16, 'u53'],
  uid: [24, 'u32'],
  gid: [28, 'u32'],
  pid: [32, 'u32'],
  extensionWords: [36, 'u16'],
  padding: [38, 'u16'],
})

/** fuse.h:903 */
export const OutHeader = layout('fuse_out_header', 16, {
  lenBytes: [0, 'u32'],
  error: [4, 'i32'],
  unique: [8, 'u64'],
})

/** fuse.h:246 */
export const FuseAttr = layout('fuse_attr', 88, {
  ino: [0, 'u53'],
  size: [8, 'u53'],
  blocks: [16, 'u53'],
  atime: [24, 'i53'],
  mtime: [32, 'i53'],
  ctime: [40, 'i53'],
  atimeNanos: [48, 'u32'],
  mtimeNanos: [52, 'u32'],
  ctimeNanos: [56, 'u32'],
  mode: [60, 'u32'],
  linkCount: [64, 'u32'],
  uid: [68, 'u32'],
  gid: [72, 'u32'],
  rdev: [76, 'u32'],
  blockSizeBytes: [80, 'u32'],
  flags: [84, 'u32'],
})

/** fuse.h:590, what comes before its fuse_attr */
export const EntryOutHead = layout('fuse_entry_out', 40, {
  nodeId: [0, 'u53'],
  generation: [8, 'u53'],
  entryTtlSeconds: [16, 'u53'],
  attrTtlSeconds: [24, 'u53'],
  entryTtlNanos: [32, 'u32'],
  attrTtlNanos: [36, 'u32'],
})
export const entryOutBytes = EntryOutHead.sizeBytes + FuseAttr.sizeBytes

/** fuse.h:623, what comes before its fuse_attr */
export const AttrOutHead = layout('fuse_attr_out', 16, {
  attrTtlSeconds: [0, 'u53'],
  attrTtlNanos: [8, 'u32'],
  padding: [12, 'u32'],
})

/** fuse.h:601 */
export const ForgetIn = layout('fuse_forget_in', 8, { lookupCount: [0, 'u53'] })

/** fuse.h:605 */
export const ForgetOne = layout('fuse_forget_one', 16, { nodeId: [0, 'u53'], lookupCount: [8, 'u53'] })

/** fuse.h:610 */
export const BatchForgetIn = layout('fuse_batch_forget_in', 8, { count: [0, 'u32'], padding: [4, 'u32'] })

/** fuse.h:658; `valid` has the bits of SetattrValid. */
export const SetattrIn = layout('fuse_setattr_in', 88, {
  valid: [0, 'u32'],
  padding: [4, 'u32'],
  fh: [8, 'u53'],
  sizeBytes: [16, 'u53'],
  lockOwner: [24, 'u64'],
  atime: [32, 'i53'],
  mtime: [40, 'i53'],
  ctime: [48, 'i53'],
  atimeNanos: [56, 'u32'],
  mtimeNanos: [60, 'u32'],
  ctimeNanos: [64, 'u32'],
  mode: [68, 'u32'],
  unused4: [72, 'u32'],
  uid: [76, 'u32'],
  gid: [80, 'u32'],
  unused5: [84, 'u32'],
})

/** fuse.h:288 */
export const SetattrValid = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  LOCKOWNER: 1 << 9,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const

/** fuse.h:632 */
export const MknodIn = layout('fuse_mknod_in', 16, {
  mode: [0, 'u32'],
  rdev: [4, 'u32'],
  umask: [8, 'u32'],
  padding: [12, 'u32'],
})

/** fuse.h:639 */
export const MkdirIn = layout('fuse_mkdir_in', 8, { mode: [0, 'u32'], umask: [4, 'u32'] })

/** fuse.h:644 */
export const RenameIn = layout('fuse_rename_in', 8, { newParent: [0, 'u53'] })

/** fuse.h:648 */
export const Rename2In = layout('fuse_rename2_in', 16, {
  newParent: [0, 'u53'],
  flags: [8, 'u32'],
  padding: [12, 'u32'],
})

/** fuse.h:654 */
export const LinkIn = layout('fuse_link_in', 8, { nodeId: [0, 'u53'] })

/** fuse.h:677; `openFlags`: FUSE_OPEN_KILL_SUIDGID 1. */
export const OpenIn = layout('fuse_open_in', 8, { flags: [0, 'u32'], openFlags: [4, 'u32'] })

/** fuse.h:682 */
export const CreateIn = layout('fuse_create_in', 16, {
  flags: [0, 'u32'],
  mode: [4, 'u32'],
  umask: [8, 'u32'],
  openFlags: [12, 'u32'],
})

/** fuse.h:689 */
export const OpenOut = layout('fuse_open_out', 16, {
  fh: [0, 'u53'],
  openFlags: [8, 'u32'],
  padding: [12, 'u32'],
})

/** fuse.h:695 */
export const ReleaseIn = layout('fuse_release_in', 24, {
  fh: [0, 'u53'],
  flags: [8, 'u32'],
  releaseFlags: [12, 'u32'],
  lockOwner: [16, 'u64'],
})

/** fuse.h:702 */
export const FlushIn = layout('fuse_flush_in', 24, {
  fh: [0, 'u53'],
  unused: [8, 'u32'],
  padding: [12, 'u32'],
  lockOwner: [16, 'u64'],
})

/** fuse.h:709; READDIR and READDIRPLUS use it too, where `offset` is the cursor, 64 bits that are the filesystem's own. */
export const ReadIn = layout('fuse_read_in', 40, {
  fh: [0, 'u53'],
  offsetBytes: [8, 'u53'],
  sizeBytes: [16, 'u32'],
  readFlags: [20, 'u32'],
  lockOwner: [24, 'u64'],
  flags: [32, 'u32'],
  padding: [36, 'u32'],
})
export const ReaddirIn = layout('fuse_read_in', 40, {
  fh: [0, 'u53'],
  cursor: [8, 'u64'],
  sizeBytes: [16, 'u32'],
  readFlags: [20, 'u32'],
  lockOwner: [24, 'u64'],
  flags: [32, 'u32'],
  padding: [36, 'u32'],
})

/** fuse.h:721; `writeFlags` has the bits of WriteFlag. */
export const WriteIn = layout('fuse_write_in', 40, {
  fh: [0, 'u53'],
  offsetBytes: [8, 'u53'],
  sizeBytes: [16, 'u32'],
  writeFlags: [20, 'u32'],
  lockOwner: [24, 'u64'],
  flags: [32, 'u32'],
  padding: [36, 'u32'],
})

/** fuse.h:433 */
export const WriteFlag = { CACHE: 1 << 0, LOCKOWNER: 1 << 1, KILL_SUIDGID: 1 << 2 } as const

/** fuse.h:731 */
export const WriteOut = layout('fuse_write_out', 8, { sizeBytes: [0, 'u32'], padding: [4, 'u32'] })

/** fuse.h:265, the body of fuse.h:738 */
export const StatfsOut = layout('fuse_statfs_out', 80, {
  blocks: [0, 'u53'],
  blocksFree: [8, 'u53'],
  blocksAvailable: [16, 'u53'],
  files: [24, 'u53'],
  filesFree: [32, 'u53'],
  blockSizeBytes: [40, 'u32'],
  nameBytesMax: [44, 'u32'],
  fragmentSizeBytes: [48, 'u32'],
  padding: [52, 'u32'],
  spare: [56, 'bytes', 24],
})

/** fuse.h:742; `fsyncFlags`: FDATASYNC 1 (fuse.h:478). */
export const FsyncIn = layout('fuse_fsync_in', 16, {
  fh: [0, 'u53'],
  fsyncFlags: [8, 'u32'],
  padding: [12, 'u32'],
})

/** fuse.h:750, the 8 bytes that are sent when SETXATTR_EXT is not negotiated. */
export const SetxattrIn = layout('fuse_setxattr_in', 8, { sizeBytes: [0, 'u32'], flags: [4, 'u32'] })

/** fuse.h:757 and fuse.h:762; LISTXATTR uses them too. */
export const GetxattrIn = layout('fuse_getxattr_in', 8, { sizeBytes: [0, 'u32'], padding: [4, 'u32'] })
export const GetxattrOut = layout('fuse_getxattr_out', 8, { sizeBytes: [0, 'u32'], padding: [4, 'u32'] })

/** fuse.h:784. Before 7.36 it ended after `flags`. */
export const InitIn = layout('fuse_init_in', 64, {
  major: [0, 'u32'],
  minor: [4, 'u32'],
  maxReadaheadBytes: [8, 'u32'],
  flags: [12, 'u32'],
  flags2: [16, 'u32'],
  unused: [20, 'bytes', 44],
})
export const initInCompatBytes = 16

/** fuse.h:796; since 7.40 and 7.43 the first unused words are a stack depth and a request timeout, which stay 0. */
export const InitOut = layout('fuse_init_out', 64, {
  major: [0, 'u32'],
  minor: [4, 'u32'],
  maxReadaheadBytes: [8, 'u32'],
  flags: [12, 'u32'],
  maxBackground: [16, 'u16'],
  congestionThreshold: [18, 'u16'],
  maxWriteBytes: [20, 'u32'],
  timeGranularityNanos: [24, 'u32'],
  maxPages: [28, 'u16'],
  mapAlignment: [30, 'u16'],
  flags2: [32, 'u32'],
  unused: [36, 'bytes', 28],
})

/** fuse.h:832 */
export const InterruptIn = layout('fuse_interrupt_in', 8, { unique: [0, 'u64'] })

/** fuse.h:883 */
export const FallocateIn = layout('fuse_fallocate_in', 32, {
  fh: [0, 'u53'],
  offsetBytes: [8, 'u53'],
  lengthBytes: [16, 'u53'],
  mode: [24, 'u32'],
  padding: [28, 'u32'],
})

/** fuse.h:984; LSEEK is asked for SEEK_DATA and SEEK_HOLE alone. */
export const LseekIn = layout('fuse_lseek_in', 24, {
  fh: [0, 'u53'],
  offsetBytes: [8, 'u53'],
  whence: [16, 'u32'],
  padding: [20, 'u32'],
})
export const LseekOut = layout('fuse_lseek_out', 8, { offsetBytes: [0, 'u53'] })

/** fuse.h:995 */
export const CopyFileRangeIn = layout('fuse_copy_file_range_in', 56, {
  fh: [0, 'u53'],
  offsetBytes: [8, 'u53'],
  toNodeId: [16, 'u53'],
  toFh: [24, 'u53'],
  toOffsetBytes: [32, 'u53'],
  lengthBytes: [40, 'u64'],
  flags: [48, 'u64'],
})
/** COPY_FILE_RANGE_64, since 7.45, answers with it; the older opcode with a fuse_write_out. */
export const CopyFileRangeOut = layout('fuse_copy_file_range_out', 8, { copiedBytes: [0, 'u53'] })

/** 7.39: statx(2) that asks for a time of birth. */
export const StatxIn = layout('fuse_statx_in', 24, {
  getattrFlags: [0, 'u32'],
  reserved: [4, 'u32'],
  fh: [8, 'u53'],
  statxFlags: [16, 'u32'],
  mask: [20, 'u32'],
})

/** 7.39, what comes before its fuse_statx */
export const StatxOutHead = layout('fuse_statx_out', 32, {
  attrTtlSeconds: [0, 'u53'],
  attrTtlNanos: [8, 'u32'],
  flags: [12, 'u32'],
  spare: [16, 'bytes', 16],
})

/** 7.39; `mask` has the bits of StatxMask. */
export const FuseStatx = layout('fuse_statx', 256, {
  mask: [0, 'u32'],
  blockSizeBytes: [4, 'u32'],
  attributes: [8, 'u64'],
  linkCount: [16, 'u32'],
  uid: [20, 'u32'],
  gid: [24, 'u32'],
  mode: [28, 'u16'],
  spare0: [30, 'u16'],
  ino: [32, 'u53'],
  size: [40, 'u53'],
  blocks: [48, 'u53'],
  attributesMask: [56, 'u64'],
  atime: [64, 'i53'],
  atimeNanos: [72, 'u32'],
  atimeReserved: [76, 'u32'],
  birthTime: [80, 'i53'],
  birthTimeNanos: [88, 'u32'],
  birthTimeReserved: [92, 'u32'],
  ctime: [96, 'i53'],
  ctimeNanos: [104, 'u32'],
  ctimeReserved: [108, 'u32'],
  mtime: [112, 'i53'],
  mtimeNanos: [120, 'u32'],
  mtimeReserved: [124, 'u32'],
  rdevMajor: [128, 'u32'],
  rdevMinor: [132, 'u32'],
  deviceMajor: [136, 'u32'],
  deviceMinor: [140, 'u32'],
  spare2: [144, 'bytes', 112],
})

/** include/uapi/linux/stat.h */
export const StatxMask = { basicStats: 0x7ff, birthTime: 0x800 } as const

/** fuse.h:909; the name follows, then zeros up to a multiple of 8. READDIRPLUS (fuse.h:926) has a fuse_entry_out before it. */
export const Dirent = layout('fuse_dirent', 24, {
  ino: [0, 'u53'],
  nextCursor: [8, 'u64'],
  nameBytes: [16, 'u32'],
  type: [20, 'u32'],
})
export const direntAlignmentBytes = 8

/** fuse.h:575, and RESEND since 7.40. A notification is an OutHeader with unique 0 and the code as `error`. */
export const NotifyCode = { INVAL_INODE: 2, RESEND: 7 } as const

/** fuse.h:936; a length of 0 means: to the end. */
export const NotifyInvalidateInode = layout('fuse_notify_inval_inode_out', 24, {
  ino: [0, 'u53'],
  offsetBytes: [8, 'i53'],
  lengthBytes: [16, 'i53'],
})

/** Set in the unique of a request that is sent again after RESEND (7.40). */
export const uniqueResend = 1n << 63n
