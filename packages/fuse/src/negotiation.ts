import { InitIn, InitOut, initInCompatBytes, protocolMajor, protocolMinorMax, protocolMinorMin } from './abi.ts'
import { FuseError } from './errno.ts'
import type { ConnectionInfo, Filesystem } from './filesystem.ts'
import { type InitFlag, initFlagsOf, initWordsOf } from './init-flags.ts'

export const maxWriteBytes = 1024 * 1024
const pageBytes = 4096

/** What we ask for, where the kernel offers it. Not asked for, and why:
 *  POSIX_LOCKS, FLOCK_LOCKS: with one mount the kernel's own locks are complete and cost no request.
 *  DONT_MASK: the kernel masks the mode, but for filesystems with ACLs of their own. AUTO_INVAL_DATA,
 *  EXPLICIT_INVAL_DATA: nobody else changes the files. NO_OPEN_SUPPORT: open files carry late errors. SPLICE: Node has
 *  none. SETXATTR_EXT: then xattrs would have another struct, for a flag that nobody reads. */
const wanted: readonly InitFlag[] = [
  'ASYNC_READ',
  'ATOMIC_O_TRUNC',
  'BIG_WRITES',
  'DO_READDIRPLUS',
  'READDIRPLUS_AUTO',
  'ASYNC_DIO',
  'WRITEBACK_CACHE',
  'PARALLEL_DIROPS',
  'ABORT_ERROR',
  'MAX_PAGES',
  'CACHE_SYMLINKS',
  'HANDLE_KILLPRIV_V2',
  'INIT_EXT',
  'HAS_RESEND',
]
const wantedForAcl: readonly InitFlag[] = ['POSIX_ACL', 'DONT_MASK']

export interface NegotiationOptions {
  /** Requests the kernel has on the way that nobody waits for (write-back, read-ahead). The side queue of held WRITEs
   *  may have to hold this many MiB, and held WRITEs keep READs waiting, so: not many. */
  readonly maxBackground: number
}

/** Another major version: a too old kernel, or a newer one that is to ask again (fuse.h, "Version negotiation"). */
export type Negotiated =
  | { readonly reply: Buffer; readonly connection: ConnectionInfo; readonly flags: ReadonlySet<InitFlag> }
  | { readonly reply: Buffer; readonly connection: null }

/** Answers INIT. @param body what followed the request's header
 *  @throws FuseError EPROTO when the kernel is older than Linux 3.15 */
export function negotiate(
  body: Buffer,
  filesystem: Pick<Filesystem, 'wantsPosixAcl' | 'opensSilently'>,
  { maxBackground }: NegotiationOptions,
): Negotiated {
  const padded = Buffer.concat([body, Buffer.alloc(InitIn.sizeBytes)])
  const offer = InitIn.decode(padded)
  if (offer.major > protocolMajor) return { reply: initOut({}), connection: null }
  if (body.length < initInCompatBytes || offer.major < protocolMajor || offer.minor < protocolMinorMin) {
    throw new FuseError('EPROTO', `the kernel speaks FUSE ${offer.major}.${offer.minor}, too old for us`)
  }
  const offered = initFlagsOf(offer.flags, offer.flags2)
  const asked = filesystem.wantsPosixAcl ? [...wanted, ...wantedForAcl] : wanted
  const flags = new Set(asked.filter(flag => offered.has(flag)))
  if (filesystem.opensSilently) flags.delete('ATOMIC_O_TRUNC')
  // Without MAX_PAGES a request has 32 pages at most, and a larger max_write would only be cut by the kernel.
  const writeBytes = flags.has('MAX_PAGES') ? maxWriteBytes : 32 * pageBytes
  const reply = initOut({
    minor: Math.min(offer.minor, protocolMinorMax),
    // The kernel takes the smaller of this and what the device is set to, which mount.ts raises.
    maxReadaheadBytes: maxWriteBytes,
    ...initWordsOf(flags),
    maxBackground,
    // From here on the kernel calls the device congested and holds back read-ahead: three quarters, as is its default.
    congestionThreshold: Math.floor((maxBackground * 3) / 4),
    maxWriteBytes: writeBytes,
    timeGranularityNanos: 1,
    maxPages: writeBytes / pageBytes,
  })
  const connection = {
    maxWriteBytes: writeBytes,
    writebackCache: flags.has('WRITEBACK_CACHE'),
    hasResend: flags.has('HAS_RESEND'),
    resumed: false,
  }
  return { reply, connection, flags }
}

/** What the process that answered INIT agreed upon, for the one that goes on after it on the same kernel. */
export const resumedConnection: ConnectionInfo = {
  maxWriteBytes,
  writebackCache: true,
  hasResend: true,
  resumed: true,
}

function initOut(values: Partial<Parameters<typeof InitOut.encode>[0]>): Buffer {
  return InitOut.toBuffer({
    major: protocolMajor,
    minor: protocolMinorMax,
    maxReadaheadBytes: 0,
    flags: 0,
    maxBackground: 0,
    congestionThreshold: 0,
    maxWriteBytes: 0,
    timeGranularityNanos: 0,
    maxPages: 0,
    mapAlignment: 0,
    flags2: 0,
    unused: Buffer.alloc(28),
    ...values,
  })
}
