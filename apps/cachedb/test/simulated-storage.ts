import { dirname } from 'node:path'
import type { Prng } from '@qsfs/testkit/prng'
import {
  type AppendFile,
  appendWhole,
  type DirectoryItem,
  FileMissing,
  type ReadFile,
  type Storage,
  StorageError,
} from '../src/segment/storage.ts'

const pageBytes = 4096
const sectorBytes = 512

/** A file's bytes: `current` as the page cache has them, `durable` as the platter does. */
interface Inode {
  current: Buffer
  durable: Buffer
  /** Ranges whose sync failed: the kernel calls them clean, so no later sync writes them. */
  forgotten: { readonly from: number; readonly to: number }[]
}

type NameChange = { readonly path: string; readonly inode: Inode | null }

/** A disk in memory that knows what a power cut may leave of it.
 *
 *  - Bytes not synced: each page of them may be on disk, be missing (zeros, or what was there), or be torn at a sector; the file
 *    may have any length between its durable and its current one.
 *  - Names not synced by `syncDirectory`: the first so many changes of each directory are on disk, in their order.
 *  - `kill()` is kill -9: the page cache survives.
 *
 *  Every operation calls `onOperation`, so that a test can cut at each point: `cut(prng)` returns the disk found afterwards. */
export class SimulatedStorage implements Storage {
  /** Called after each operation that changes something. A sync counts twice: begun, and ended. */
  onOperation: (operation: string) => void = () => {}
  /** Bytes of all files together; appends stop short there. */
  capacityBytes: number = Number.POSITIVE_INFINITY
  /** Says which syncs fail. */
  failsSync: (path: string) => boolean = () => false
  /** What a file shows after its sync failed: the page cache still, or what is on disk. */
  afterFailedSync: 'cache' | 'disk' = 'cache'
  operationCount = 0

  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  #directories = new Set<string>()
  #nameChanges = new Map<string, NameChange[]>()

  /** The disk after a power cut now. This one goes on unharmed. */
  cut(prng: Prng): SimulatedStorage {
    const after = new SimulatedStorage()
    after.capacityBytes = this.capacityBytes
    after.#directories = new Set(this.#directories)
    const names = new Map(this.#durableNames)
    for (const changes of this.#nameChanges.values()) {
      for (const { path, inode } of changes.slice(0, prng.below(changes.length + 1))) {
        if (inode === null) names.delete(path)
        else names.set(path, inode)
      }
    }
    const survivors = new Map<Inode, Inode>()
    for (const [path, inode] of names) {
      const survivor = survivors.get(inode) ?? survivorOf(inode, prng)
      survivors.set(inode, survivor)
      after.#names.set(path, survivor)
      after.#durableNames.set(path, survivor)
    }
    return after
  }

  /** The disk after kill -9 now: all that reached the kernel, still unsynced where it was. This one goes on unharmed. */
  kill(): SimulatedStorage {
    const after = new SimulatedStorage()
    after.capacityBytes = this.capacityBytes
    after.#directories = new Set(this.#directories)
    const copies = new Map<Inode, Inode>()
    const copy = (inode: Inode): Inode => {
      const known = copies.get(inode)
      if (known !== undefined) return known
      const made = {
        current: Buffer.from(inode.current),
        durable: Buffer.from(inode.durable),
        forgotten: [...inode.forgotten],
      }
      copies.set(inode, made)
      return made
    }
    for (const [path, inode] of this.#names) after.#names.set(path, copy(inode))
    for (const [path, inode] of this.#durableNames) after.#durableNames.set(path, copy(inode))
    for (const [directory, changes] of this.#nameChanges) {
      after.#nameChanges.set(
        directory,
        changes.map(({ path, inode }) => ({ path, inode: inode === null ? null : copy(inode) })),
      )
    }
    return after
  }

  /** For tests that damage files: a copy of the bytes as everybody sees them; `put` changes them. */
  bytesOf(path: string): Buffer {
    return Buffer.from(this.#inode(path).current)
  }

  /** Puts a file there, durable, as somebody else would. */
  put(path: string, bytes: Uint8Array): void {
    const inode = { current: Buffer.from(bytes), durable: Buffer.from(bytes), forgotten: [] }
    this.#names.set(path, inode)
    this.#durableNames.set(path, inode)
  }

  openAppend(path: string): AppendFile {
    let inode = this.#names.get(path)
    if (inode === undefined) {
      inode = { current: Buffer.alloc(0), durable: Buffer.alloc(0), forgotten: [] }
      this.#rename(path, inode)
      this.#did(`create ${path}`)
    }
    return this.#appendFile(path, inode)
  }

  openRead(path: string): ReadFile {
    const inode = this.#inode(path)
    const readSync = (offsetBytes: number, lengthBytes: number) =>
      Buffer.from(inode.current.subarray(offsetBytes, offsetBytes + lengthBytes))
    return {
      path,
      get sizeBytes() {
        return inode.current.length
      },
      readSync,
      read: async (offsetBytes, lengthBytes) => readSync(offsetBytes, lengthBytes),
      [Symbol.dispose]() {},
    }
  }

  async publish(path: string, parts: readonly Uint8Array[]): Promise<void> {
    const temporary = `${path}.tmp`
    this.remove(temporary)
    const file = this.openAppend(temporary)
    appendWhole(file, parts)
    await file.sync()
    this.rename(temporary, path)
    await this.syncDirectory(dirname(path))
  }

  list(directory: string): readonly DirectoryItem[] {
    const items: DirectoryItem[] = []
    for (const [path, inode] of this.#names) {
      if (dirname(path) === directory)
        items.push({ name: nameOf(path), isDirectory: false, sizeBytes: inode.current.length })
    }
    for (const path of this.#directories) {
      if (dirname(path) === directory && path !== directory)
        items.push({ name: nameOf(path), isDirectory: true, sizeBytes: 0 })
    }
    return items
  }

  sizeBytes(path: string): number | null {
    return this.#names.get(path)?.current.length ?? null
  }

  remove(path: string): void {
    if (!this.#names.has(path)) return
    this.#rename(path, null)
    this.#did(`remove ${path}`)
  }

  removeDirectory(directory: string): void {
    for (const path of [...this.#names.keys()]) if (path.startsWith(`${directory}/`)) this.remove(path)
    for (const path of [...this.#directories])
      if (path === directory || path.startsWith(`${directory}/`)) this.#directories.delete(path)
  }

  makeDirectory(directory: string): void {
    for (let path = directory; path !== '/'; path = dirname(path)) this.#directories.add(path)
  }

  rename(from: string, to: string): void {
    const inode = this.#inode(from)
    this.#rename(to, inode)
    this.#rename(from, null)
    this.#did(`rename ${from} ${to}`)
  }

  async syncFile(path: string): Promise<void> {
    await this.#sync(path, this.#inode(path))
  }

  async syncDirectory(directory: string): Promise<void> {
    const changes = this.#nameChanges.get(directory) ?? []
    const covered = changes.length
    this.#did(`sync-begun ${directory}`)
    await nextTurn()
    for (const { path, inode } of changes.splice(0, covered)) {
      if (inode === null) this.#durableNames.delete(path)
      else this.#durableNames.set(path, inode)
    }
    this.#did(`sync-ended ${directory}`)
  }

  freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.#usedBytes())
  }

  #appendFile(path: string, inode: Inode): AppendFile {
    const storage = this
    return {
      path,
      get sizeBytes() {
        return inode.current.length
      },
      append(parts) {
        const bytes = Buffer.concat(parts)
        const room = Math.max(0, storage.capacityBytes - storage.#usedBytes())
        if (room === 0 && bytes.length > 0) throw new StorageError(`${path}: no space`, { full: true })
        const written = Math.min(room, bytes.length)
        inode.current = Buffer.concat([inode.current, bytes.subarray(0, written)])
        storage.#did(`append ${path} ${written}`)
        return written
      },
      truncate(sizeBytes) {
        inode.current = Buffer.from(inode.current.subarray(0, sizeBytes))
        storage.#did(`truncate ${path} ${sizeBytes}`)
      },
      sync: () => storage.#sync(path, inode),
      readSync: (offsetBytes, lengthBytes) =>
        Buffer.from(inode.current.subarray(offsetBytes, offsetBytes + lengthBytes)),
      [Symbol.dispose]() {},
    }
  }

  async #sync(path: string, inode: Inode): Promise<void> {
    const covered = Buffer.from(inode.current)
    this.#did(`sync-begun ${path}`)
    await nextTurn()
    if (this.failsSync(path)) {
      inode.forgotten.push({ from: inode.durable.length, to: covered.length })
      if (this.afterFailedSync === 'disk') inode.current = withForgotten(inode.current, inode)
      this.#did(`sync-failed ${path}`)
      throw new StorageError(`${path}: the disk failed`)
    }
    inode.durable = withForgotten(covered, inode)
    this.#did(`sync-ended ${path}`)
  }

  #rename(path: string, inode: Inode | null): void {
    if (inode === null) this.#names.delete(path)
    else this.#names.set(path, inode)
    const directory = dirname(path)
    const changes = this.#nameChanges.get(directory) ?? []
    changes.push({ path, inode })
    this.#nameChanges.set(directory, changes)
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path)
    if (inode === undefined) throw new FileMissing(path)
    return inode
  }

  #usedBytes(): number {
    let sum = 0
    for (const inode of this.#names.values()) sum += inode.current.length
    return sum
  }

  #did(operation: string): void {
    this.operationCount++
    this.onOperation(operation)
  }
}

function survivorOf(inode: Inode, prng: Prng): Inode {
  const { current, durable } = inode
  const shorter = Math.min(current.length, durable.length)
  const longer = Math.max(current.length, durable.length)
  const length = shorter + (longer === shorter ? 0 : prng.below(longer - shorter + 1))
  const bytes = Buffer.alloc(length)
  durable.copy(bytes, 0, 0, Math.min(durable.length, length))
  for (let at = 0; at < length; at += pageBytes) {
    const end = Math.min(at + pageBytes, length)
    if (durable.subarray(at, end).equals(current.subarray(at, end))) continue
    // The page is on disk as it is now, or not at all, or up to a sector.
    const kept = prng.chance(0.5) ? end : prng.chance(0.5) ? at : Math.min(end, at + sectorBytes * prng.below(9))
    if (at < current.length) current.copy(bytes, at, at, Math.min(kept, current.length))
  }
  const survivor = Buffer.from(withForgotten(bytes, inode))
  return { current: survivor, durable: Buffer.from(survivor), forgotten: [] }
}

/** What a sync or a crash makes of these bytes: the ranges whose sync failed hold zeros, or what was durable there. */
function withForgotten(bytes: Buffer, { durable, forgotten }: Inode): Buffer {
  if (forgotten.length === 0) return bytes
  const kept = Buffer.from(bytes)
  for (const { from, to } of forgotten) {
    kept.fill(0, Math.min(from, kept.length), Math.min(to, kept.length))
    if (from < Math.min(durable.length, kept.length)) durable.copy(kept, from, from, Math.min(to, kept.length))
  }
  return kept
}

function nameOf(path: string): string {
  return path.slice(dirname(path).length + 1)
}

function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
