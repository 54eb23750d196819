import { type Clock, systemClock } from '@qsfs/concurrency/clock'
import type { Attr, Filesystem, RequestContext } from '@qsfs/fuse/filesystem'
import { silentLog } from '@qsfs/telemetry/log'
import { VolumeFilesystem } from '../src/ops/filesystem.ts'
import { Volume, type VolumeLimits } from '../src/ops/volume.ts'
import type { Store } from '../src/store/store.ts'

export const context: RequestContext = { uid: 1000, gid: 1000, pid: 1, signal: new AbortController().signal }
const notFromCache = { fromCache: false, killPrivileges: false }

export interface ListedName {
  readonly name: string
  readonly nodeId: number
  readonly cursor: bigint
}

/** A filesystem without a mount, spoken to by paths, holding each node only while it works on it, as a kernel might. */
export class Driver implements AsyncDisposable {
  readonly volume: Volume
  readonly filesystem: Filesystem

  private constructor(volume: Volume) {
    this.volume = volume
    this.filesystem = new VolumeFilesystem(volume, { opensSilently: false, capacity: () => null })
  }

  static async mount(store: Store, limits: Partial<VolumeLimits> = {}, clock: Clock = systemClock): Promise<Driver> {
    return new Driver(await Volume.open(store, clock, silentLog, limits))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.volume[Symbol.asyncDispose]()
  }

  /** Calls `use` with the node at `path`, held meanwhile. */
  async at<T>(path: string, use: (nodeId: number) => T): Promise<Awaited<T>> {
    const held: number[] = []
    try {
      let nodeId = 1
      for (const name of path.split('/').filter(part => part !== '')) {
        const entry = await this.filesystem.lookup(nodeId, Buffer.from(name), context)
        if (entry === null) throw Object.assign(new Error(`no ${path}`), { code: 'ENOENT' })
        nodeId = entry.attr.nodeId
        held.push(nodeId)
      }
      return await use(nodeId)
    } finally {
      for (const nodeId of held) this.filesystem.forget(nodeId, 1)
    }
  }

  stat(path: string): Promise<Attr> {
    return this.at(path, async nodeId => await this.filesystem.getattr(nodeId, context))
  }

  async create(path: string, mode = 0o644): Promise<void> {
    const made = await this.#inParent(path, (parent, name) => this.filesystem.create(parent, name, mode, 0, context))
    this.filesystem.forget(made.attr.nodeId, 1)
  }
  async mkdir(path: string, mode = 0o755): Promise<void> {
    const made = await this.#inParent(path, (parent, name) => this.filesystem.mkdir(parent, name, mode, context))
    this.filesystem.forget(made.attr.nodeId, 1)
  }
  async symlink(path: string, target: string): Promise<void> {
    const made = await this.#inParent(path, (parent, name) =>
      this.filesystem.symlink(parent, name, Buffer.from(target), context),
    )
    this.filesystem.forget(made.attr.nodeId, 1)
  }
  async link(from: string, to: string): Promise<void> {
    await this.at(from, async nodeId => {
      await this.#inParent(to, (parent, name) => this.filesystem.link(nodeId, parent, name, context))
      this.filesystem.forget(nodeId, 1)
    })
  }
  async unlink(path: string): Promise<void> {
    await this.#inParent(path, (parent, name) => this.filesystem.unlink(parent, name, context))
  }
  async rmdir(path: string): Promise<void> {
    await this.#inParent(path, (parent, name) => this.filesystem.rmdir(parent, name, context))
  }
  async rename(from: string, to: string, flags = 0): Promise<void> {
    await this.#inParent(from, (parent, name) =>
      this.#inParent(to, (newParent, newName) =>
        this.filesystem.rename(parent, name, newParent, newName, flags, context),
      ),
    )
  }
  write(path: string, offset: number, data: Buffer): Promise<void> {
    return this.at(path, async nodeId => await this.filesystem.write(nodeId, 0, offset, data, notFromCache, context))
  }
  read(path: string, offset: number, length: number): Promise<Buffer> {
    return this.at(path, async nodeId => Buffer.concat(await this.filesystem.read(nodeId, 0, offset, length, context)))
  }
  truncate(path: string, sizeBytes: number): Promise<Attr> {
    return this.at(path, async nodeId => await this.filesystem.setattr(nodeId, { sizeBytes }, context))
  }
  fsync(path: string): Promise<void> {
    return this.at(path, async nodeId => await this.filesystem.fsync(nodeId, 0, false, context))
  }

  /** All names, asked for `atOnce` at a time. */
  async list(path: string, { atOnce = 1000, withEntries = false } = {}): Promise<ListedName[]> {
    const names: ListedName[] = []
    await this.at(path, async nodeId => {
      let cursor = 0n
      for (;;) {
        const before = names.length
        let room = atOnce
        const fill = (name: Buffer, child: number, _mode: number, next: bigint) => {
          if (room-- === 0) return false
          names.push({ name: name.toString('latin1'), nodeId: child, cursor: next })
          cursor = next
          return true
        }
        await this.filesystem.readdir(nodeId, 0, cursor, withEntries, fill, context)
        for (const { name, nodeId: child } of names.slice(before)) {
          if (withEntries && name !== '.' && name !== '..') this.filesystem.forget(child, 1)
        }
        if (names.length === before) return
      }
    })
    return names.filter(({ name }) => name !== '.' && name !== '..')
  }

  #inParent<T>(path: string, use: (parent: number, name: Buffer) => T): Promise<Awaited<T>> {
    const parts = path.split('/')
    const name = Buffer.from(parts.pop() ?? '')
    return this.at(parts.join('/'), parent => use(parent, name))
  }
}
