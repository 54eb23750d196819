import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StorError, type StorErrorReason } from '../errors.ts'

/** What the directory backends need of a file system; the only place where they touch it. */
export class DirectoryFiles {
  readonly name: string
  readonly root: string
  readonly #writerId = randomBytes(8).toString('hex')

  constructor(name: string, root: string) {
    this.name = name
    this.root = root
  }

  /** Makes a directory of the root, on disk before it is used. The root itself must be there: where a disk is to be
   *  mounted, an empty place must not be taken for it, nor be made when the disk goes away at this moment. */
  async makeDirectory(name: string): Promise<void> {
    await this.freeBytes()
    try {
      await this.makeNewDirectory(name)
    } catch (error) {
      if (!(error instanceof StorError && error.reason === 'missing')) throw error
      throw new StorError('unavailable', `${this.name}: ${this.root} went away`, { cause: error })
    }
  }

  /** Makes one directory in a directory that is there, on disk when it resolves.
   *  @returns false when it was there: somebody else made it */
  async makeNewDirectory(path: string): Promise<boolean> {
    return this.#guard(async () => {
      try {
        await mkdir(join(this.root, path), { mode: 0o700 })
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
        throw error
      }
      await syncPath(join(this.root, dirname(path)))
      return true
    })
  }

  /** A whole new file, or none: written beside its place and renamed. `durable`: it is on disk, its name too. */
  async publish(path: string, bytes: Uint8Array, { durable }: { readonly durable: boolean }): Promise<void> {
    const target = join(this.root, path)
    // Not the file that another process, by mistake, writes at the same time.
    const part = `${target}.${this.#writerId}.part`
    await this.#guard(async () => {
      await using file = await open(part, 'w', 0o600)
      await file.writeFile(bytes)
      if (durable) await file.sync()
    })
    await this.#guard(() => rename(part, target))
    if (durable) await this.sync(dirname(path))
  }

  /** Null when there is no such file. */
  async read(path: string): Promise<Buffer | null> {
    return this.#guard(async () => {
      try {
        return await readFile(join(this.root, path))
      } catch (error) {
        if (isAbsent(error)) return null
        throw error
      }
    })
  }

  /** @returns false when it was not there */
  async remove(path: string): Promise<boolean> {
    return this.#guard(async () => {
      try {
        await rm(join(this.root, path))
        return true
      } catch (error) {
        if (isAbsent(error)) return false
        throw error
      }
    })
  }

  /** The names in a directory; none when it is not there. */
  async list(path: string): Promise<string[]> {
    return this.#guard(async () => {
      try {
        return (await readdir(join(this.root, path))).filter(name => !name.endsWith('.part'))
      } catch (error) {
        if (isAbsent(error)) return []
        throw error
      }
    })
  }

  /** fsync of a file or a directory.
   *  @throws StorError 'missing' when it is not there */
  async sync(path: string): Promise<void> {
    await this.#guard(() => syncPath(join(this.root, path)))
  }

  /** @throws StorError 'unavailable' when the root is not there */
  async freeBytes(): Promise<number> {
    try {
      const { bavail, bsize } = await statfs(this.root)
      return bavail * bsize
    } catch (error) {
      throw new StorError('unavailable', `${this.name}: ${adviceOn(error, this.root)}`, { cause: error })
    }
  }

  async #guard<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : ''
      if (code === '') throw error
      const reasons: Record<string, StorErrorReason> = {
        ENOSPC: 'full',
        EDQUOT: 'full',
        ENOENT: 'missing',
        EIO: 'damaged',
      }
      const text = reasons[code] === undefined ? adviceOn(error, this.root) : (error as Error).message
      throw new StorError(reasons[code] ?? 'unavailable', `${this.name}: ${text}`, { cause: error })
    }
  }
}

/** What is wrong with a root, and what to do about it; the system's words for what is rare. */
function adviceOn(error: unknown, root: string): string {
  const sentences: Readonly<Record<string, string>> = {
    ENOENT: `there is no directory ${root}: mount its disk, correct the address, or set create_namespaces`,
    ENOTDIR: `${root} is no directory: correct the address`,
    EACCES: `this user may not write in ${root}: give it the rights, or run stor as another`,
    EROFS: `${root} is mounted read-only: mount it for writing`,
  }
  const { code = '', message } = error as NodeJS.ErrnoException
  return sentences[code] ?? message
}

async function syncPath(path: string): Promise<void> {
  await using file = await open(path, 'r')
  await file.sync()
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
