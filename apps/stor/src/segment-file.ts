import { createHash } from 'node:crypto'
import { constants, createReadStream, fstatSync, readSync, writeSync } from 'node:fs'
import { type FileHandle, lstat, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { StorError } from './errors.ts'

/** A file to be stored, open for reading. It belongs to somebody else: nothing is ever written to it. */
export interface SourceFile extends AsyncDisposable {
  /** Workers of this process read through it. */
  readonly fd: number
  readonly sizeBytes: number
  /** @throws StorError 'file' when the file changed since it was opened */
  assertUnchanged(): Promise<void>
}

/** @throws StorError 'file' when it is absent, unreadable or no regular file */
export async function openSource(path: string): Promise<SourceFile> {
  await using opening = new AsyncDisposableStack()
  // A pipe without a writer would keep the opening thread, and the store that waits for it, for ever.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK
  const file = opening.use(await orFileError(`cannot read ${path}`, open(path, flags)))
  const before = await file.stat({ bigint: true })
  if (!before.isFile()) throw new StorError('file', `${path} is not a regular file`)
  const owned = opening.move()
  return {
    fd: file.fd,
    sizeBytes: Number(before.size),
    async assertUnchanged() {
      const now = await file.stat({ bigint: true })
      if (now.size !== before.size || now.mtimeNs !== before.mtimeNs) {
        throw new StorError('file', `${path} changed while it was being stored; store it again`)
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Deletes a local file when its bytes are still those of the digest. What is written to it between the last look and the
 *  deletion is lost, as it is to anybody who deletes a file that is in use.
 *  @returns why it is kept, or null: it is gone, or was not there */
export async function removeWhenStored(path: string, sha256: string): Promise<string | null> {
  try {
    await using source = await openSource(path)
    const hash = createHash('sha256')
    for await (const part of createReadStream(path, { fd: source.fd, autoClose: false, start: 0 })) hash.update(part)
    if (hash.digest('hex') !== sha256) return `${path} holds other bytes than were stored`
    await source.assertUnchanged()
    const [here, opened] = [await lstat(path, { bigint: true }), fstatSync(source.fd, { bigint: true })]
    if (here.ino !== opened.ino || here.dev !== opened.dev) return `${path} is another file now, or a link`
    await rm(path)
    return null
  } catch (error) {
    const cause = error instanceof StorError ? error.cause : error
    if (isSystemError(cause) && cause.code === 'ENOENT') return null
    if (error instanceof StorError || isSystemError(error)) return error.message
    throw error
  }
}

/** The regular files directly in a directory, sorted; links are none. Null when the path is no directory.
 *  @throws StorError 'file' */
export async function filesIn(path: string): Promise<string[] | null> {
  try {
    const entries = await readdir(path, { withFileTypes: true })
    return entries
      .filter(entry => entry.isFile())
      .map(({ name }) => join(path, name))
      .sort()
  } catch (error) {
    if (isSystemError(error) && (error.code === 'ENOTDIR' || error.code === 'ENOENT')) return null
    throw new StorError('file', `cannot list ${path}: ${(error as Error).message}`, { cause: error })
  }
}

const syncEveryBytes = 64 * 1024 * 1024

/** A file that is being retrieved: `.<name>.<object>.part` beside its final path until published; removed when disposed
 *  of before that. */
export interface PartFile extends AsyncDisposable {
  readonly fd: number
  /** @throws StorError 'file' */
  write(bytes: Buffer, positionBytes: number): Promise<void>
  /** Workers wrote so much through `fd`. Now and then what is there goes to the disk, beside further writing: publishing
   *  a gigabyte would wait for it for seconds. */
  wrote(byteCount: number): void
  /** On disk under its final name when it resolves: sync, rename, sync the directory. */
  publish(): Promise<void>
}

/** @param objectId goes into the name, so that cachedb knows whose remains it finds
 *  @throws StorError 'file' */
export async function createPart(path: string, objectId: Buffer, sizeBytes: number): Promise<PartFile> {
  const directory = dirname(path)
  const partPath = join(directory, `.${basename(path)}.${objectId.toString('hex')}.part`)
  // What a killed retrieve of the same object left behind.
  await orFileError(`cannot replace ${partPath}`, rm(partPath, { force: true }))
  const file: FileHandle = await orFileError(`cannot create ${partPath}`, open(partPath, 'wx+', 0o600))
  const cannotSync = `cannot sync ${partPath}`
  let published = false
  let unsyncedBytes = 0
  /** Stays when it failed. */
  let syncing: Promise<void> | null = null
  const part: PartFile = {
    fd: file.fd,
    async write(bytes, positionBytes) {
      for (let done = 0; done < bytes.length; ) {
        const writing = file.write(bytes, done, bytes.length - done, positionBytes + done)
        done += (await orFileError(`cannot write ${partPath}`, writing)).bytesWritten
      }
      part.wrote(bytes.length)
    },
    wrote(byteCount) {
      unsyncedBytes += byteCount
      if (syncing !== null || unsyncedBytes < syncEveryBytes) return
      unsyncedBytes = 0
      syncing = orFileError(cannotSync, file.datasync()).then(() => {
        syncing = null
      })
      // The kernel tells a write's failure to one sync only: it stays here until publish asks.
      syncing.catch(() => undefined)
    },
    async publish() {
      await syncing
      await orFileError(cannotSync, file.sync())
      await orFileError(`cannot publish ${path}`, rename(partPath, path))
      published = true
      await using parent = await open(directory, 'r')
      await parent.sync()
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled([syncing])
      await file.close()
      if (!published) await rm(partPath, { force: true })
    },
  }
  try {
    // Frames arrive in any order.
    await orFileError(`no room for ${path}`, file.truncate(sizeBytes))
  } catch (error) {
    await part[Symbol.asyncDispose]()
    throw error
  }
  return part
}

/** A path in a new directory of one's own, for a file that somebody else writes, and its bytes; both go when it is disposed of. */
export interface PassingFile extends AsyncDisposable {
  readonly path: string
  read(): AsyncIterable<Buffer>
}

/** In $TMPDIR, else /tmp.
 *  @throws StorError 'file' */
export async function createPassing(): Promise<PassingFile> {
  const prefix = join(tmpdir(), 'qsfs-stor-')
  const directory = await orFileError(`cannot make a directory ${prefix}…`, mkdtemp(prefix))
  const path = join(directory, 'file')
  return {
    path,
    read: () => createReadStream(path),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

/** Fills `target` from the file; for workers, which may block.
 *  @throws StorError 'file' when the file ends before */
export function readFully(fd: number, target: Uint8Array, positionBytes: number): void {
  for (let done = 0; done < target.length; ) {
    const readBytes = readSync(fd, target, done, target.length - done, positionBytes + done)
    if (readBytes === 0) throw new StorError('file', 'the file became shorter while it was being read')
    done += readBytes
  }
}

/** Writes all of `bytes`; for workers, which may block. */
export function writeFully(fd: number, bytes: Uint8Array, positionBytes: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, positionBytes + done)
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error
}

async function orFileError<T>(text: string, action: Promise<T>): Promise<T> {
  try {
    return await action
  } catch (cause) {
    // Node names the call and the path, which `text` does already.
    const reason = (cause as Error).message.replace(/, \w+(?: '.*')?$/s, '')
    throw new StorError('file', `${text}: ${reason}`, { cause })
  }
}
