import type { Layout } from '@qsfs/bytes/layout'
import { ForgetOne, SetattrValid, WriteFlag } from './abi.ts'
import { type Answer, type Lifetimes, noEntry } from './answer.ts'
import { DirectoryBuffer } from './directory-buffer.ts'
import { FuseError } from './errno.ts'
import type { AttrChange, Filesystem, MaybePromise, OpenFile } from './filesystem.ts'
import { type InOf, type OpcodeName, opcodes } from './opcodes.ts'
import { type Request, splitTail } from './request.ts'

/** What an operation is called with: the request taken apart by its row. */
interface Call<N extends OpcodeName> {
  readonly filesystem: Filesystem
  readonly request: Request
  readonly in: InOf<N>
  /** The names; the first is there for every row that has one. */
  readonly name: Buffer
  readonly secondName: Buffer
  readonly data: Buffer
  readonly lifetimes: Lifetimes
}

/** One opcode: the call to the filesystem, and how its result is answered. */
export interface Operation {
  readonly replies: boolean
  run(filesystem: Filesystem, request: Request, lifetimes: Lifetimes): MaybePromise<unknown>
  answer(answer: Answer, result: unknown): void
}

const nothing = Buffer.alloc(0)

/** O_TRUNC of open(2), and FUSE_OPEN_KILL_SUIDGID of fuse.h:677. */
const openTruncate = 0o1000
const openKillPrivileges = 1
const fsyncDataOnly = 1

const list: readonly (readonly [OpcodeName, Operation])[] = [
  operation(
    'LOOKUP',
    ({ filesystem, request, name }) => filesystem.lookup(request.nodeId, name, request),
    (answer, entry) => answer.entry(entry ?? noEntry),
  ),
  operation('FORGET', call => call.filesystem.forget(call.request.nodeId, call.in.lookupCount)),
  operation('BATCH_FORGET', ({ filesystem, in: { count }, data }) => {
    for (let i = 0; i < count; i++) {
      const one = ForgetOne.decode(data, i * ForgetOne.sizeBytes)
      filesystem.forget(one.nodeId, one.lookupCount)
    }
  }),
  operation(
    'GETATTR',
    ({ filesystem, request }) => filesystem.getattr(request.nodeId, request),
    (answer, attr) => answer.attr(attr),
  ),
  operation(
    'SETATTR',
    call => call.filesystem.setattr(call.request.nodeId, attrChange(call.in), call.request),
    (answer, attr) => answer.attr(attr),
  ),
  operation(
    'READLINK',
    ({ filesystem, request }) => filesystem.readlink(request.nodeId, request),
    (answer, target) => answer.bytes([target]),
  ),
  operation(
    'SYMLINK',
    ({ filesystem, request, name, secondName }) => filesystem.symlink(request.nodeId, name, secondName, request),
    (answer, entry) => answer.entry(entry),
  ),
  operation(
    'MKNOD',
    ({ filesystem, request, name, in: { mode, rdev, umask } }) => {
      request.umask = umask
      return filesystem.mknod(request.nodeId, name, mode, rdev, request)
    },
    (answer, entry) => answer.entry(entry),
  ),
  operation(
    'MKDIR',
    ({ filesystem, request, name, in: { mode, umask } }) => {
      request.umask = umask
      return filesystem.mkdir(request.nodeId, name, (mode & 0o7777) | directoryType, request)
    },
    (answer, entry) => answer.entry(entry),
  ),
  operation('UNLINK', ({ filesystem, request, name }) => filesystem.unlink(request.nodeId, name, request)),
  operation('RMDIR', ({ filesystem, request, name }) => filesystem.rmdir(request.nodeId, name, request)),
  operation('RENAME', ({ filesystem, request, name, secondName, in: { newParent } }) =>
    filesystem.rename(request.nodeId, name, newParent, secondName, 0, request),
  ),
  operation('RENAME2', ({ filesystem, request, name, secondName, in: { newParent, flags } }) =>
    filesystem.rename(request.nodeId, name, newParent, secondName, flags, request),
  ),
  operation(
    'LINK',
    ({ filesystem, request, name, in: { nodeId } }) => filesystem.link(nodeId, request.nodeId, name, request),
    (answer, entry) => answer.entry(entry),
  ),
  operation(
    'OPEN',
    call => open(call),
    (answer, file) => answer.open(file),
  ),
  operation(
    'CREATE',
    ({ filesystem, request, name, in: { mode, flags, umask } }) => {
      request.umask = umask
      return filesystem.create(request.nodeId, name, mode, flags, request)
    },
    (answer, created) => {
      answer.entry(created)
      answer.open(created)
    },
  ),
  operation(
    'READ',
    ({ filesystem, request, in: { fh, offsetBytes, sizeBytes } }) =>
      filesystem.read(request.nodeId, fh, offsetBytes, sizeBytes, request),
    (answer, parts) => answer.bytes(parts),
  ),
  operation(
    'WRITE',
    ({ filesystem, request, data, in: { fh, offsetBytes, sizeBytes, writeFlags } }) => {
      if (data.length !== sizeBytes) throw new FuseError('EIO', `a WRITE of ${sizeBytes} bytes has ${data.length}`)
      const flags = {
        fromCache: (writeFlags & WriteFlag.CACHE) !== 0,
        killPrivileges: (writeFlags & WriteFlag.KILL_SUIDGID) !== 0,
      }
      const written = filesystem.write(request.nodeId, fh, offsetBytes, data, flags, request)
      return written === undefined ? sizeBytes : written.then(() => sizeBytes)
    },
    (answer, sizeBytes) => answer.written(sizeBytes),
  ),
  operation(
    'STATFS',
    ({ filesystem, request }) => filesystem.statfs(request),
    (answer, stats) => answer.statfs(stats),
  ),
  operation('RELEASE', ({ filesystem, request, in: { fh } }) => filesystem.release(request.nodeId, fh)),
  operation('FSYNC', ({ filesystem, request, in: { fh, fsyncFlags } }) =>
    filesystem.fsync(request.nodeId, fh, (fsyncFlags & fsyncDataOnly) !== 0, request),
  ),
  // ENOSYS is remembered by the kernel: it asks once per mount.
  operation('FLUSH', ({ filesystem, request, in: { fh } }) => {
    if (filesystem.flush === undefined) throw new FuseError('ENOSYS')
    return filesystem.flush(request.nodeId, fh, request)
  }),
  operation('SETXATTR', ({ filesystem, request, name, data, in: { sizeBytes, flags } }) =>
    filesystem.setxattr(request.nodeId, name, data.subarray(0, sizeBytes), flags, request),
  ),
  operation(
    'GETXATTR',
    ({ filesystem, request, name, in: { sizeBytes } }) =>
      fitting(filesystem.getxattr(request.nodeId, name, request), sizeBytes),
    answerXattr,
  ),
  operation(
    'LISTXATTR',
    ({ filesystem, request, in: { sizeBytes } }) => fitting(filesystem.listxattr(request.nodeId, request), sizeBytes),
    answerXattr,
  ),
  operation('REMOVEXATTR', ({ filesystem, request, name }) => filesystem.removexattr(request.nodeId, name, request)),
  operation(
    'OPENDIR',
    ({ filesystem, request }) => filesystem.opendir(request.nodeId, request),
    (answer, file) => answer.open(file),
  ),
  operation('READDIR', call => readdir(call, null), answerDirectory),
  operation('READDIRPLUS', call => readdir(call, call.lifetimes), answerDirectory),
  operation('RELEASEDIR', ({ filesystem, request, in: { fh } }) => filesystem.releasedir(request.nodeId, fh)),
  operation('FSYNCDIR', ({ filesystem, request, in: { fh, fsyncFlags } }) =>
    filesystem.fsyncdir(request.nodeId, fh, (fsyncFlags & fsyncDataOnly) !== 0, request),
  ),
  // Not ENOSYS: that would turn fallocate off for the whole mount, the modes we serve included.
  operation('FALLOCATE', ({ filesystem, request, in: { fh, offsetBytes, lengthBytes, mode } }) => {
    if (filesystem.fallocate === undefined) throw new FuseError('EOPNOTSUPP')
    return filesystem.fallocate(request.nodeId, fh, offsetBytes, lengthBytes, mode, request)
  }),
  operation(
    'LSEEK',
    ({ filesystem, request, in: { fh, offsetBytes, whence } }) => {
      if (filesystem.lseek === undefined) throw new FuseError('ENOSYS')
      return filesystem.lseek(request.nodeId, fh, offsetBytes, whence, request)
    },
    (answer, offsetBytes) => answer.seeked(offsetBytes),
  ),
  operation('COPY_FILE_RANGE', copyFileRange, (answer, copiedBytes) => answer.written(copiedBytes)),
  operation('COPY_FILE_RANGE_64', copyFileRange, (answer, copiedBytes) => answer.copied(copiedBytes)),
  operation(
    'TMPFILE',
    ({ filesystem, request, in: { mode, flags, umask } }) => {
      if (filesystem.tmpfile === undefined) throw new FuseError('ENOSYS')
      request.umask = umask
      return filesystem.tmpfile(request.nodeId, mode, flags, request)
    },
    (answer, created) => {
      answer.entry(created)
      answer.open(created)
    },
  ),
  operation(
    'STATX',
    ({ filesystem, request }) => filesystem.getattr(request.nodeId, request),
    (answer, attr) => answer.statx(attr),
  ),
  operation('SYNCFS', ({ filesystem, request }) => {
    if (filesystem.syncfs === undefined) throw new FuseError('ENOSYS')
    return filesystem.syncfs(request)
  }),
  operation('DESTROY', () => undefined),
]
export const operations: ReadonlyMap<OpcodeName, Operation> = new Map(list)

/** S_IFDIR: MKDIR's mode comes without its type. */
const directoryType = 0o40000

/** ATOMIC_O_TRUNC spares the SETATTR of its own that truncation by open would cost. */
function open({ filesystem, request, in: { flags, openFlags } }: Call<'OPEN'>): MaybePromise<OpenFile> {
  const openIt = () => filesystem.open(request.nodeId, flags & ~openTruncate, request)
  if ((flags & openTruncate) === 0) return openIt()
  const killPrivileges = (openFlags & openKillPrivileges) !== 0
  const truncated = filesystem.setattr(request.nodeId, { sizeBytes: 0, killPrivileges }, request)
  return truncated instanceof Promise ? truncated.then(openIt) : openIt()
}

/** The most that one answer can name: of the older opcode 32 bits, rounded down to a page by the kernel too. */
const copyBytesMax = 0xffff_f000n

function copyFileRange(call: Call<'COPY_FILE_RANGE' | 'COPY_FILE_RANGE_64'>): MaybePromise<number> {
  const { filesystem, request } = call
  const { offsetBytes, toNodeId, toOffsetBytes, lengthBytes: asked, flags } = call.in
  if (filesystem.copyFileRange === undefined) throw new FuseError('ENOSYS')
  if (flags !== 0n) throw new FuseError('EINVAL')
  const lengthBytes = Number(asked < copyBytesMax ? asked : copyBytesMax)
  const from = { node: request.nodeId, offsetBytes, lengthBytes }
  return filesystem.copyFileRange(from, { node: toNodeId, offsetBytes: toOffsetBytes }, request)
}

function attrChange(values: InOf<'SETATTR'>): AttrChange {
  const has = (bit: number) => (values.valid & bit) !== 0
  const { mode, uid, gid, sizeBytes, fh } = values
  // HANDLE_KILLPRIV_V2 says so for writes and truncations, and leaves chown to us.
  const killPrivileges = has(SetattrValid.KILL_SUIDGID | SetattrValid.UID | SetattrValid.GID)
  return {
    ...(has(SetattrValid.MODE) && { mode }),
    ...(has(SetattrValid.UID) && { uid }),
    ...(has(SetattrValid.GID) && { gid }),
    ...(has(SetattrValid.SIZE) && { sizeBytes }),
    ...(has(SetattrValid.ATIME) && { atime: { seconds: values.atime, nanos: values.atimeNanos } }),
    ...(has(SetattrValid.MTIME) && { mtime: { seconds: values.mtime, nanos: values.mtimeNanos } }),
    ...(has(SetattrValid.CTIME) && { ctime: { seconds: values.ctime, nanos: values.ctimeNanos } }),
    ...(has(SetattrValid.ATIME_NOW) && { atime: 'now' as const }),
    ...(has(SetattrValid.MTIME_NOW) && { mtime: 'now' as const }),
    ...(has(SetattrValid.FH) && { fh }),
    ...(killPrivileges && { killPrivileges }),
  }
}

function readdir(call: Call<'READDIR' | 'READDIRPLUS'>, lifetimes: Lifetimes | null): MaybePromise<Buffer> {
  const { filesystem, request } = call
  const { fh, cursor, sizeBytes } = call.in
  const directory = new DirectoryBuffer(sizeBytes, lifetimes)
  const done = filesystem.readdir(request.nodeId, fh, cursor, lifetimes !== null, directory.fill, request)
  return done instanceof Promise ? done.then(() => directory.bytes) : directory.bytes
}

function answerDirectory(answer: Answer, bytes: Buffer): void {
  answer.bytes([bytes])
}

/** An attribute, or its length when the caller asked with no room. @throws FuseError ERANGE when it does not fit */
function fitting<T extends Buffer | null>(value: MaybePromise<T>, sizeBytes: number): MaybePromise<T | number> {
  if (value instanceof Promise) return value.then(bytes => fitting(bytes, sizeBytes))
  if (value === null) return value
  if (sizeBytes === 0) return value.length
  if (value.length > sizeBytes) throw new FuseError('ERANGE')
  return value
}

function answerXattr(answer: Answer, value: Buffer | number | null): void {
  if (value === null) answer.refuse('ENODATA')
  else if (typeof value === 'number') answer.xattrSize(value)
  else answer.bytes([value])
}

/** @throws FuseError EFBIG for a 64-bit offset or size that is no safe integer: no file of ours gets that long */
function decodeIn<N extends OpcodeName>(inLayout: Layout<never> | null, body: Buffer): InOf<N> {
  try {
    return inLayout?.decode(body) as unknown as InOf<N>
  } catch (cause) {
    throw new FuseError('EFBIG', 'a number beyond 2^53', { cause })
  }
}

/** A row of the table: typed here by its opcode, plain to whoever runs it. */
function operation<N extends OpcodeName, T>(
  name: N,
  call: (call: Call<N>) => MaybePromise<T>,
  answer: (answer: Answer, result: T) => void = () => undefined,
): readonly [OpcodeName, Operation] {
  const { in: inLayout, replies } = opcodes[name] as { in: Layout<never> | null; replies: boolean }
  const run: Operation['run'] = (filesystem, request, lifetimes) => {
    const body = request.body
    const { names, data } = splitTail(name, body)
    const values = decodeIn<N>(inLayout, body)
    const [first = nothing, second = nothing] = names
    return call({ filesystem, request, in: values, name: first, secondName: second, data, lifetimes })
  }
  return [name, { replies, run, answer: answer as Operation['answer'] }]
}
