/** Names ↔ numbers of Linux errors: include/uapi/asm-generic/errno-base.h and errno.h. A reply carries the negative number. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  EALREADY: 114,
  ESTALE: 116,
  EDQUOT: 122,
  ECANCELED: 125,
} as const

export type ErrnoName = keyof typeof Errno

/** An operation failed in a way its caller is to see: the kernel gets `-errno`. It has no stack; `cause` has its own. */
export class FuseError extends Error {
  override readonly name = 'FuseError'
  readonly code: ErrnoName
  readonly errno: number

  constructor(code: ErrnoName, message: string = code, options?: ErrorOptions) {
    // An answer like any other, `ls -l` gets two ENODATA per file: a stack trace is most of its cost (4.6 us of 5).
    const stackTraceLimit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(message, options)
    Error.stackTraceLimit = stackTraceLimit
    this.code = code
    this.errno = Errno[code]
  }
}
