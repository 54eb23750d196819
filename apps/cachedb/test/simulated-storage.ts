import { basename, dirname, join } from 'node:path'
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

/** A directory's names: as the kernel has them, as the platter does, and the changes between the two in their order. */
interface Directory {
  readonly names: Map<string, Item>
  readonly durable: Map<string, Item>
  changes: NameChange[]
}

type Item = Inode | Directory
interface NameChange {
  readonly name: string
  readonly item: Item | null
}

/** A disk in memory that knows what a power cut may leave of it.
 *
 *  - Bytes not synced: each page of them may be on disk, be missing (zeros, or what was there), or be torn at a sector; the file
 *    may have any length between its durable and its current one.
 *  - Names not synced by `syncDirectory`: the first so many changes of each directory are on disk, in their order.
 *    A directory is such a name too, of the one it lies in, and takes all it holds along. Only those in `/` are there for good.
 *  - `kill()` is kill -9: the page cache survives.
 *
 *  Every operation calls `onOperation`, so that a test can cut at each point: `cut(prng)` returns the disk found afterwards. */
export class SimulatedStorage implements Storage {
  /** Called after each operation that changes something. A sync counts twice: begun, and ended. */
  onOperation: (operation: string) => void = () => {}
  /** Bytes of all files together; appends stop short there. */
  capacityBytes: number = Number.POSITIVE_INFINITY
  /** Says which syncs fail, of directories too: what they did not write stays to be written by a later one. */
  failsSync: (path: string) => boolean = () => false
  /** What a file shows after its sync failed: the page cache still, or what is on disk. */
  afterFailedSync: 'cache' | 'disk' = 'cache'
  /** The part of what a failed sync was to write that it did not; null: nothing reached the disk, the file's length neither. */
  lostBySync: (fromBytes: number, toBytes: number) => { readonly from: number; readonly to: number } | null = () => null
  /** How many turns of the loop a sync of a file takes. */
  syncTurns: () => number = () => 1
  operationCount = 0

  #root = newDirectory()

  /** The disk after a power cut now. This one goes on unharmed. */
  cut(prng: Prng): SimulatedStorage {
    const after = new SimulatedStorage()
    after.capacityBytes = this.capacityBytes
    after.#root = directoryAfterCut(this.#root, prng, new Map())
    return after
  }

  /** The disk after kill -9 now: all that reached the kernel, still unsynced where it was. This one goes on unharmed.
   *  @param forgets whether the page cache drops the pages of a file that a failed sync left clean */
  kill(forgets: () => boolean = () => false): SimulatedStorage {
    const after = new SimulatedStorage()
    after.capacityBytes = this.capacityBytes
    after.#root = copyOfDirectory(this.#root, new Map(), forgets)
    return after
  }

  /** For tests that damage files: a copy of the bytes as everybody sees them; `put` changes them. */
  bytesOf(path: string): Buffer {
    return Buffer.from(this.#inode(path).current)
  }

  /** Puts a file there, durable, as somebody else would. */
  put(path: string, bytes: Uint8Array): void {
    const inode = { current: Buffer.from(bytes), durable: Buffer.from(bytes), forgotten: [] }
    const { names, durable } = this.#directory(dirname(path))
    names.set(basename(path), inode)
    durable.set(basename(path), inode)
  }

  openAppend(path: string): AppendFile {
    if (this.#find(path) === null) {
      this.#change(path, { current: Buffer.alloc(0), durable: Buffer.alloc(0), forgotten: [] })
      this.#did(`create ${path}`)
    }
    return this.#appendFile(path, this.#inode(path))
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
    const found = this.#find(directory)
    if (found === null || !isDirectory(found)) return []
    return [...found.names].map(([name, item]) => {
      return { name, isDirectory: isDirectory(item), sizeBytes: isDirectory(item) ? 0 : item.current.length }
    })
  }

  sizeBytes(path: string): number | null {
    const found = this.#find(path)
    return found === null || isDirectory(found) ? null : found.current.length
  }

  remove(path: string): void {
    if (this.sizeBytes(path) === null) return
    this.#change(path, null)
    this.#did(`remove ${path}`)
  }

  removeDirectory(directory: string): void {
    for (const { name, isDirectory } of this.list(directory)) {
      if (isDirectory) this.removeDirectory(join(directory, name))
      else this.remove(join(directory, name))
    }
    if (this.#find(directory) === null) return
    this.#change(directory, null)
    this.#did(`remove-directory ${directory}`)
  }

  makeDirectory(directory: string): void {
    if (this.#find(directory) !== null) return
    this.makeDirectory(dirname(directory))
    this.#change(directory, newDirectory())
    this.#did(`make-directory ${directory}`)
  }

  rename(from: string, to: string): void {
    const inode = this.#inode(from)
    this.#change(to, inode)
    this.#change(from, null)
    this.#did(`rename ${from} ${to}`)
  }

  async syncFile(path: string): Promise<void> {
    await this.#sync(path, this.#inode(path))
  }

  async writeAgain(path: string, fromBytes: number): Promise<void> {
    const inode = this.#inode(path)
    inode.forgotten = inode.forgotten
      .map(({ from, to }) => ({ from, to: Math.min(to, fromBytes) }))
      .filter(({ from, to }) => from < to)
    this.#did(`write-again ${path} ${fromBytes}`)
    await this.#sync(path, inode)
  }

  async syncDirectory(path: string): Promise<void> {
    const directory = this.#directory(path)
    const covered = new Set(directory.changes)
    this.#did(`sync-begun ${path}`)
    await nextTurn()
    if (this.failsSync(path)) {
      this.#did(`sync-failed ${path}`)
      throw new StorageError(`${path}: the disk failed`)
    }
    // Another sync may have been quicker with some of them.
    for (const change of directory.changes) if (covered.has(change)) apply(change, directory.durable)
    directory.changes = directory.changes.filter(change => !covered.has(change))
    this.#did(`sync-ended ${path}`)
  }

  /** Of all files together. */
  get usedBytes(): number {
    return bytesIn(this.#root)
  }

  blocksRead(): number {
    return 0
  }

  freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.usedBytes)
  }

  #appendFile(path: string, inode: Inode): AppendFile {
    const storage = this
    let isClosed = false
    const requireOpen = () => {
      if (isClosed) throw new StorageError(`${path} is closed`)
    }
    return {
      path,
      get sizeBytes() {
        return inode.current.length
      },
      append(parts) {
        requireOpen()
        const bytes = Buffer.concat(parts)
        const room = Math.max(0, storage.capacityBytes - storage.usedBytes)
        if (room === 0 && bytes.length > 0) throw new StorageError(`${path}: no space`, { full: true })
        const written = Math.min(room, bytes.length)
        inode.current = Buffer.concat([inode.current, bytes.subarray(0, written)])
        storage.#did(`append ${path} ${written}`)
        return written
      },
      truncate(sizeBytes) {
        requireOpen()
        inode.current = Buffer.from(inode.current.subarray(0, sizeBytes))
        storage.#did(`truncate ${path} ${sizeBytes}`)
      },
      async sync() {
        requireOpen()
        await storage.#sync(path, inode)
      },
      readSync(offsetBytes, lengthBytes) {
        requireOpen()
        return Buffer.from(inode.current.subarray(offsetBytes, offsetBytes + lengthBytes))
      },
      [Symbol.dispose]() {
        isClosed = true
      },
    }
  }

  async #sync(path: string, inode: Inode): Promise<void> {
    const covered = Buffer.from(inode.current)
    this.#did(`sync-begun ${path}`)
    for (let turns = this.syncTurns(); turns > 0; turns--) await nextTurn()
    if (this.failsSync(path)) {
      const from = commonBytes(inode.durable, covered)
      const lost = this.lostBySync(from, covered.length)
      inode.forgotten.push(lost ?? { from, to: covered.length })
      if (lost !== null) inode.durable = withForgotten(covered, inode)
      if (this.afterFailedSync === 'disk') inode.current = withForgotten(inode.current, inode)
      this.#did(`sync-failed ${path}`)
      throw new StorageError(`${path}: the disk failed`)
    }
    inode.durable = withForgotten(covered, inode)
    this.#did(`sync-ended ${path}`)
  }

  #change(path: string, item: Item | null): void {
    const directory = this.#directory(dirname(path))
    const change = { name: basename(path), item }
    apply(change, directory.names)
    if (directory === this.#root) apply(change, directory.durable)
    else directory.changes.push(change)
  }

  #find(path: string): Item | null {
    let found: Item = this.#root
    for (const name of path.split('/').filter(part => part !== '')) {
      const next: Item | undefined = isDirectory(found) ? found.names.get(name) : undefined
      if (next === undefined) return null
      found = next
    }
    return found
  }

  #directory(path: string): Directory {
    const found = this.#find(path)
    if (found === null || !isDirectory(found)) throw new FileMissing(path)
    return found
  }

  #inode(path: string): Inode {
    const found = this.#find(path)
    if (found === null || isDirectory(found)) throw new FileMissing(path)
    return found
  }

  #did(operation: string): void {
    this.operationCount++
    this.onOperation(operation)
  }
}

function newDirectory(): Directory {
  return { names: new Map(), durable: new Map(), changes: [] }
}

function isDirectory(item: Item): item is Directory {
  return 'names' in item
}

function apply({ name, item }: NameChange, names: Map<string, Item>): void {
  if (item === null) names.delete(name)
  else names.set(name, item)
}

function bytesIn({ names }: Directory): number {
  let sum = 0
  for (const item of names.values()) sum += isDirectory(item) ? bytesIn(item) : item.current.length
  return sum
}

/** @param survivors files that lie there under two names stay one file */
function directoryAfterCut(directory: Directory, prng: Prng, survivors: Map<Inode, Inode>): Directory {
  const kept = new Map(directory.durable)
  for (const change of directory.changes.slice(0, prng.below(directory.changes.length + 1))) apply(change, kept)
  const after = newDirectory()
  for (const [name, item] of kept) {
    const survivor = isDirectory(item) ? directoryAfterCut(item, prng, survivors) : fileAfterCut(item, prng, survivors)
    after.names.set(name, survivor)
    after.durable.set(name, survivor)
  }
  return after
}

function fileAfterCut(inode: Inode, prng: Prng, survivors: Map<Inode, Inode>): Inode {
  const survivor = survivors.get(inode) ?? survivorOf(inode, prng)
  survivors.set(inode, survivor)
  return survivor
}

/** @param copies what lies there under two names stays one */
function copyOfDirectory(directory: Directory, copies: Map<Item, Item>, forgets: () => boolean): Directory {
  const copy = (item: Item): Item => {
    const made =
      copies.get(item) ?? (isDirectory(item) ? copyOfDirectory(item, copies, forgets) : copyOfInode(item, forgets))
    copies.set(item, made)
    return made
  }
  const copyNames = (names: ReadonlyMap<string, Item>) => new Map([...names].map(([name, item]) => [name, copy(item)]))
  return {
    names: copyNames(directory.names),
    durable: copyNames(directory.durable),
    changes: directory.changes.map(({ name, item }) => ({ name, item: item === null ? null : copy(item) })),
  }
}

function copyOfInode(inode: Inode, forgets: () => boolean): Inode {
  const { current, durable, forgotten } = inode
  const found = forgotten.length > 0 && forgets() ? withForgotten(current, inode) : current
  return { current: Buffer.from(found), durable: Buffer.from(durable), forgotten: [...forgotten] }
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

/** How far two files are the same. */
function commonBytes(one: Buffer, other: Buffer): number {
  const shorter = Math.min(one.length, other.length)
  let at = 0
  while (at < shorter && one[at] === other[at]) at++
  return at
}

function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
