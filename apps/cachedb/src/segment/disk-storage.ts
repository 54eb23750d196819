import {
  close,
  closeSync,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  readv,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  unlinkSync,
  writevSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { resourceUsage } from 'node:process'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { AdjacentReads } from './adjacent-reads.ts'
import {
  type AppendFile,
  appendWhole,
  type DirectoryItem,
  FileMissing,
  type ReadFile,
  type Storage,
  StorageError,
} from './storage.ts'

/** Read and written at once by `writeAgain`. */
const writtenAgainBytes = 1024 * 1024

/** The real disk. The only user of node:fs in cachedb. */
export class DiskStorage implements Storage {
  readonly #pool: BulkPool

  /** @param pool what is read comes in its memory; who knows that a buffer is of no more use may give it back */
  constructor(pool: BulkPool = new BulkPool()) {
    this.#pool = pool
  }

  openAppend(path: string): AppendFile {
    return new DiskAppendFile(
      path,
      attempt(path, () => openSync(path, 'a+', 0o600)),
      this.#pool,
    )
  }

  openRead(path: string): ReadFile {
    return new DiskReadFile(
      path,
      attempt(path, () => openSync(path, 'r')),
      this.#pool,
    )
  }

  async publish(path: string, parts: readonly Uint8Array[]): Promise<void> {
    const temporary = `${path}.tmp`
    this.remove(temporary)
    {
      using file = this.openAppend(temporary)
      appendWhole(file, parts)
      await file.sync()
    }
    this.rename(temporary, path)
    await this.syncDirectory(dirname(path))
  }

  list(directory: string): readonly DirectoryItem[] {
    try {
      return readdirSync(directory, { withFileTypes: true }).map(item => ({
        name: item.name,
        isDirectory: item.isDirectory(),
        sizeBytes: item.isDirectory() ? 0 : (this.sizeBytes(join(directory, item.name)) ?? 0),
      }))
    } catch (error) {
      if (isMissing(error)) return []
      throw storageError(directory, error)
    }
  }

  sizeBytes(path: string): number | null {
    return attempt(path, () => statSync(path, { throwIfNoEntry: false })?.size ?? null)
  }

  remove(path: string): void {
    // Freeing 32 MiB takes up to 20 ms, and is done when the last descriptor is closed: by a thread, not by the event loop.
    const descriptor = this.#openIfPossible(path)
    try {
      unlinkSync(path)
    } catch (error) {
      if (!isMissing(error)) throw storageError(path, error)
    } finally {
      if (descriptor !== null) close(descriptor)
    }
  }

  removeDirectory(directory: string): void {
    attempt(directory, () => rmSync(directory, { recursive: true, force: true }))
  }

  makeDirectory(directory: string): void {
    attempt(directory, () => mkdirSync(directory, { recursive: true, mode: 0o700 }))
  }

  rename(from: string, to: string): void {
    attempt(from, () => renameSync(from, to))
  }

  async syncFile(path: string): Promise<void> {
    const descriptor = attempt(path, () => openSync(path, 'r'))
    try {
      await callback(path, done => fsync(descriptor, done))
    } finally {
      closeSync(descriptor)
    }
  }

  async writeAgain(path: string, fromBytes: number): Promise<void> {
    const file = await attemptLater(path, () => open(path, 'r+'))
    try {
      const buffer = Buffer.allocUnsafe(writtenAgainBytes)
      for (let at = fromBytes; ; ) {
        const { bytesRead } = await attemptLater(path, () => file.read(buffer, 0, buffer.length, at))
        if (bytesRead === 0) break
        for (let from = 0; from < bytesRead; )
          from += (await attemptLater(path, () => file.write(buffer, from, bytesRead - from, at + from))).bytesWritten
        at += bytesRead
      }
      await attemptLater(path, () => file.sync())
    } finally {
      await file.close()
    }
  }

  syncDirectory(directory: string): Promise<void> {
    return this.syncFile(directory)
  }

  freeBytes(directory: string): number {
    const { bsize, bavail } = attempt(directory, () => statfsSync(directory))
    return bsize * bavail
  }

  blocksRead(): number {
    return resourceUsage().fsRead
  }

  /** null also when the process has no descriptor left: a file that must go must go then too. */
  #openIfPossible(path: string): number | null {
    try {
      return openSync(path, 'r')
    } catch {
      return null
    }
  }
}

/** What append and read files share: a descriptor that is closed once. */
class DiskFile {
  readonly path: string
  protected readonly pool: BulkPool
  readonly #descriptor: number
  #closed = false

  constructor(path: string, descriptor: number, pool: BulkPool) {
    this.path = path
    this.pool = pool
    this.#descriptor = descriptor
  }

  /** A closed number may be another file's by now. @throws StorageError */
  protected get descriptor(): number {
    if (this.#closed) throw new StorageError(`${this.path} is closed`)
    return this.#descriptor
  }

  readSync(offsetBytes: number, lengthBytes: number): Buffer {
    const buffer = this.pool.take(lengthBytes)
    let filled = 0
    while (filled < lengthBytes) {
      const at = filled
      const count = attempt(this.path, () => readSync(this.descriptor, buffer, at, lengthBytes - at, offsetBytes + at))
      if (count === 0) break
      filled += count
    }
    return buffer.subarray(0, filled)
  }

  [Symbol.dispose](): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#descriptor)
  }
}

class DiskAppendFile extends DiskFile implements AppendFile {
  #sizeBytes: number

  constructor(path: string, descriptor: number, pool: BulkPool) {
    super(path, descriptor, pool)
    this.#sizeBytes = fstatSync(descriptor).size
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  append(parts: readonly Uint8Array[]): number {
    const written = attempt(this.path, () => writevSync(this.descriptor, parts))
    this.#sizeBytes += written
    return written
  }

  truncate(sizeBytes: number): void {
    attempt(this.path, () => ftruncateSync(this.descriptor, sizeBytes))
    this.#sizeBytes = sizeBytes
  }

  async sync(): Promise<void> {
    const { descriptor } = this
    await callback(this.path, done => fdatasync(descriptor, done))
  }
}

class DiskReadFile extends DiskFile implements ReadFile {
  readonly sizeBytes: number
  readonly #reads = new AdjacentReads(this)

  constructor(path: string, descriptor: number, pool: BulkPool) {
    super(path, descriptor, pool)
    this.sizeBytes = fstatSync(descriptor).size
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const buffer = this.pool.take(lengthBytes)
    return buffer.subarray(0, await this.#reads.fill(buffer, offsetBytes))
  }

  async readInto(buffers: readonly Buffer[], offsetBytes: number): Promise<number> {
    const { descriptor } = this
    return new Promise((resolve, reject) =>
      readv(descriptor, buffers, offsetBytes, (error, bytes) =>
        error ? reject(storageError(this.path, error)) : resolve(bytes),
      ),
    )
  }
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action()
  } catch (error) {
    throw storageError(path, error)
  }
}

async function attemptLater<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw storageError(path, error)
  }
}

function callback(path: string, action: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => action(error => (error ? reject(storageError(path, error)) : resolve())))
}

function storageError(path: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error
  if (isMissing(error)) return new FileMissing(path, error)
  const { code, message } = error as NodeJS.ErrnoException
  return new StorageError(`${path}: ${message}`, { full: code === 'ENOSPC' || code === 'EDQUOT', cause: error })
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
