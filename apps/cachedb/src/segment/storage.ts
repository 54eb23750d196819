/** Files as cachedb sees them: the seam below which a real or a simulated disk lies. Paths are absolute.
 *
 *  Three words are never mixed: *append* reached the kernel, *sync* reached the disk, *publish* = write a temporary file, sync
 *  it, rename it over the name, sync the directory. A name made or removed is durable only after `syncDirectory`.
 *  Calls that return no promise are done when they return. */
export interface Storage {
  /** Opens a file for append, creating it when missing. */
  openAppend(path: string): AppendFile
  /** @throws FileMissing when there is no such file */
  openRead(path: string): ReadFile
  /** Replaces `path` as a whole and durably: either the old file or the new one is found, never a part. */
  publish(path: string, parts: readonly Uint8Array[]): Promise<void>
  /** What lies in a directory, in no order; nothing when it does not exist. */
  list(directory: string): readonly DirectoryItem[]
  /** null when there is no such file. */
  sizeBytes(path: string): number | null
  /** Removes a file; one that is not there is as good. */
  remove(path: string): void
  /** Removes a directory with all it holds; one that is not there is as good. */
  removeDirectory(directory: string): void
  makeDirectory(directory: string): void
  rename(from: string, to: string): void
  /** Syncs a file that somebody else wrote. */
  syncFile(path: string): Promise<void>
  /** Writes the bytes that a file shows from `fromBytes` on over themselves, and syncs it: what is there is on disk when it settles.
   *  A sync alone does not say so of a file that was found, as one that failed in an earlier process may have left pages that the
   *  kernel takes for written. Needs no room. */
  writeAgain(path: string, fromBytes: number): Promise<void>
  syncDirectory(directory: string): Promise<void>
  /** Free bytes of the filesystem that holds the directory. */
  freeBytes(directory: string): number
  /** Blocks that this process has read from disks so far, all its threads together. */
  blocksRead(): number
}

export interface DirectoryItem {
  readonly name: string
  readonly isDirectory: boolean
  readonly sizeBytes: number
}

/** A file open for append, by one writer. */
export interface AppendFile extends Disposable {
  readonly path: string
  readonly sizeBytes: number
  /** Appends the parts in one write. May stop short, as write(2) does: returns the bytes that went in.
   *  @throws StorageError, nothing having been written */
  append(parts: readonly Uint8Array[]): number
  /** Cuts the file back to its first `sizeBytes` bytes. */
  truncate(sizeBytes: number): void
  /** Everything appended before the call is on disk when it settles. After a rejection nothing is known of the unsynced bytes. */
  sync(): Promise<void>
  /** Fewer bytes than asked for only at the end of the file. */
  readSync(offsetBytes: number, lengthBytes: number): Buffer
}

export interface ReadFile extends Disposable {
  readonly path: string
  readonly sizeBytes: number
  /** Fewer bytes than asked for only at the end of the file. The buffer is the caller's. */
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>
  readSync(offsetBytes: number, lengthBytes: number): Buffer
}

/** What a disk refused. `full` when there is no room (ENOSPC, EDQUOT). */
export class StorageError extends Error {
  readonly full: boolean
  constructor(message: string, { full = false, cause }: { full?: boolean; cause?: unknown } = {}) {
    super(message, { cause })
    this.name = 'StorageError'
    this.full = full
  }
}

export class FileMissing extends StorageError {
  constructor(path: string, cause?: unknown) {
    super(`${path} does not exist`, { cause })
    this.name = 'FileMissing'
  }
}

/** IOV_MAX of Linux. */
export const partsMax = 1024

/** Appends all parts, or leaves the file as it was.
 *  @throws StorageError */
export function appendWhole(file: AppendFile, parts: readonly Uint8Array[]): void {
  const before = file.sizeBytes
  try {
    for (let at = 0; at < parts.length; at += partsMax) {
      const some = parts.slice(at, at + partsMax)
      const wanted = some.reduce((sum, part) => sum + part.length, 0)
      const written = file.append(some)
      // Linux stops a write short when the disk is full; asking again would say ENOSPC.
      if (written < wanted)
        throw new StorageError(`${file.path}: only ${written} of ${wanted} bytes went in`, { full: true })
    }
  } catch (error) {
    if (file.sizeBytes > before) file.truncate(before)
    throw error
  }
}
