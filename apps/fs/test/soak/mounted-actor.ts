import { constants } from 'node:fs'
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rmdir,
  symlink,
  unlink,
} from 'node:fs/promises'
import { join } from 'node:path'
import type { Actor } from './actor.ts'
import type { Found } from './history.ts'
import type { Operation } from './model.ts'

/** A mounted filesystem, through the kernel. */
export class MountedActor implements Actor {
  readonly #mountpoint: string

  constructor(mountpoint: string) {
    this.#mountpoint = mountpoint
  }

  async perform(operation: Operation): Promise<unknown> {
    switch (operation.name) {
      case 'create':
        return await this.#with(
          operation.path,
          constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY,
          async () => {},
        )
      case 'mkdir':
        return await mkdir(this.#at(operation.path))
      case 'symlink':
        return await symlink(operation.second, this.#at(operation.path))
      case 'link':
        return await link(this.#at(operation.path), this.#at(operation.second))
      case 'unlink':
        return await unlink(this.#at(operation.path))
      case 'rmdir':
        return await rmdir(this.#at(operation.path))
      case 'rename':
        return await rename(this.#at(operation.path), this.#at(operation.second))
      case 'truncate':
        return await this.#with(operation.path, constants.O_WRONLY, file => file.truncate(operation.sizeBytes))
      case 'write':
        return await this.#with(operation.path, constants.O_WRONLY, file =>
          file.write(operation.data, 0, operation.data.length, operation.offset),
        )
      case 'read':
        return await this.#with(operation.path, constants.O_RDONLY, async file => {
          const bytes = Buffer.alloc(operation.length)
          const { bytesRead } = await file.read(bytes, 0, bytes.length, operation.offset)
          return bytes.subarray(0, bytesRead)
        })
      case 'fsync':
        return await this.#fsync(operation.path)
      case 'sync':
        return await this.#syncAll('')
      default:
        operation satisfies never
    }
  }

  async look(): Promise<Map<string, Found>> {
    const found = new Map<string, Found>()
    const visit = async (directory: string): Promise<void> => {
      for (const name of await readdir(this.#at(directory))) {
        const path = directory === '' ? name : `${directory}/${name}`
        const stats = await lstat(this.#at(path))
        if (stats.isDirectory()) {
          found.set(path, { kind: 'directory' })
          await visit(path)
        } else if (stats.isSymbolicLink()) {
          found.set(path, { kind: 'symlink', target: await readlink(this.#at(path)) })
        } else {
          found.set(path, { kind: 'file', links: stats.nlink, bytes: await readFile(this.#at(path)) })
        }
      }
    }
    await visit('')
    return found
  }

  #at(path: string): string {
    return join(this.#mountpoint, path)
  }

  async #with<T>(path: string, flags: number, use: (file: FileHandle) => Promise<T>): Promise<T> {
    try {
      await using file = await open(this.#at(path), flags | constants.O_NOFOLLOW, 0o644)
      return await use(file)
    } catch (thrown) {
      // When the filesystem dies meanwhile, closing fails too.
      const error = thrown instanceof SuppressedError ? thrown.suppressed : thrown
      // What the last name is a symbolic link of: for the model no file.
      if ((error as NodeJS.ErrnoException).code === 'ELOOP')
        throw Object.assign(new Error('EINVAL'), { code: 'EINVAL' })
      throw error
    }
  }

  async #fsync(path: string): Promise<void> {
    const stats = await lstat(this.#at(path))
    // A link cannot be opened; its directory's fsync covers its name.
    const opened = stats.isSymbolicLink() ? '' : path
    await this.#with(opened, constants.O_RDONLY, file => file.sync())
  }

  async #syncAll(directory: string): Promise<void> {
    for (const name of await readdir(this.#at(directory))) {
      const path = directory === '' ? name : `${directory}/${name}`
      const stats = await lstat(this.#at(path))
      if (stats.isDirectory()) await this.#syncAll(path)
      else if (stats.isFile()) await this.#fsync(path)
    }
    await this.#fsync(directory)
  }
}
