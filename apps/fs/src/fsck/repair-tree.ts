import { MiB } from '@qsfs/bytes/units'
import type { NodeId, Timestamp } from '@qsfs/fuse/filesystem'
import { chunkBytes } from '../block/extent-format.ts'
import { FileExtents } from '../block/file-extents.ts'
import type { BlockId } from '../store/store.ts'
import { Directories } from '../tree/directory/directory.ts'
import { bucketKey, DirectoryBucket } from '../tree/directory/directory-bucket.ts'
import type { DirectoryName } from '../tree/directory/directory-format.ts'
import { FileType, type Inode } from '../tree/inode.ts'
import { InodeTable, rootNodeId } from '../tree/inode-table.ts'
import type { MetadataLog } from '../tree/metadata-log.ts'
import { OrphanReason } from '../tree/orphan-format.ts'
import { Orphans } from '../tree/orphans.ts'
import { type CachedRecord, RecordCache } from '../tree/record-cache.ts'

const lostAndFoundName = 'lost+found'
const recordBytesMax = 32 * MiB

/** The tree as a repair sees and changes it: fresh for each, so that nothing is remembered of what was wrong. */
export class RepairTree {
  readonly inodes: InodeTable
  readonly directories: Directories
  readonly extents: FileExtents
  readonly orphans: Orphans
  readonly buckets: Buckets
  readonly #metadata: MetadataLog
  readonly #cache: RecordCache
  readonly #now: Timestamp

  constructor(metadata: MetadataLog, now: Timestamp) {
    this.#metadata = metadata
    this.#cache = new RecordCache(metadata, { bytesMax: recordBytesMax })
    this.#now = now
    this.inodes = new InodeTable(this.#cache)
    this.directories = new Directories(this.#cache)
    this.extents = new FileExtents(this.#cache)
    this.orphans = new Orphans(this.#cache, this.inodes, metadata.session)
    this.buckets = new Buckets(this.#cache)
  }

  /** Writes a record whatever is there; null: it goes. */
  setRecord(key: string, bytes: Buffer | null): void {
    this.#cache.touch(new RawRecord(key, bytes))
  }

  changeRecord(key: string, change: (bytes: Buffer | null) => Buffer | null): void {
    const record = this.#cache.get(key, bytes => new RawRecord(key, bytes)) as RawRecord
    record.bytes = change(record.bytes)
    this.#cache.touch(record)
  }

  freeBlocks(ids: readonly BlockId[]): void {
    this.#metadata.freeBlocks(ids)
  }

  /** Gives an inode that no path leads to the name `#<number>` in /lost+found.
   *  @param namedBy a directory in the same ring, whose name for it goes; null: it has none */
  moveToLostAndFound(nodeId: NodeId, namedBy: NodeId | null): void {
    const inode = this.inodes.get(nodeId)
    const root = this.inodes.get(rootNodeId)
    this.orphans.load()
    const ring = namedBy === null ? null : this.inodes.get(namedBy)
    const oldName = ring === null ? null : this.#nameIn(ring, nodeId)
    const { found, name } = this.#findLostAndFound(root)
    const childName = found === null ? `#${nodeId}` : this.#freeName(found, `#${nodeId}`)
    const target = found ?? this.#makeLostAndFound(root, name)
    this.directories.add(target, childName, nodeId, inode.type >>> 12)
    if (ring !== null && oldName !== null) {
      this.directories.remove(ring, oldName)
      ring.linkCount--
      this.inodes.touch(ring)
    }
    if (inode.isDirectory) {
      inode.parent = target.nodeId
      inode.linkCount = Math.max(2, inode.linkCount)
      target.linkCount++
    } else inode.linkCount = 1
    this.orphans.remove(nodeId)
    this.inodes.touch(inode)
    this.inodes.touch(target)
  }

  /** Extents beyond the end go: those of the last chunk now, whole chunks behind it with the next mount. */
  cutBeyondSize(nodeId: NodeId): void {
    const inode = this.inodes.get(nodeId)
    const end = inode.storedSizeBytes
    const firstWholeChunk = Math.ceil(end / chunkBytes)
    const isInChunk = end % chunkBytes !== 0
    this.orphans.load()
    if (isInChunk) {
      this.extents.at(inode, end)
      this.freeBlocks(this.extents.replace(inode, end, firstWholeChunk * chunkBytes).freed)
    }
    if (this.extents.lastChunk(inode) >= firstWholeChunk) this.orphans.add(nodeId, OrphanReason.trimmed)
    this.inodes.touch(inode)
  }

  /** Of a directory with several names the one in its own `..` stays, else the first. */
  keepOneName(nodeId: NodeId, directoryIds: readonly NodeId[]): void {
    const inode = this.inodes.get(nodeId)
    const named = [...new Set(directoryIds)].flatMap(id => {
      const directory = this.inodes.get(id)
      const names = [...this.directories.list(directory, 0)].filter(entry => entry.nodeId === nodeId)
      return names.map(({ name }) => ({ directory, name }))
    })
    const kept = named.find(({ directory }) => directory.nodeId === inode.parent) ?? named[0]
    for (const place of named) {
      if (place === kept) continue
      this.directories.remove(place.directory, place.name)
      place.directory.linkCount--
      this.inodes.touch(place.directory)
    }
  }

  #nameIn(directory: Inode, nodeId: NodeId): string | null {
    for (const entry of this.directories.list(directory, 0)) if (entry.nodeId === nodeId) return entry.name
    return null
  }

  /** Looks only. null: there is none, and `name` is free for it. */
  #findLostAndFound(root: Inode): { found: Inode | null; name: string } {
    for (let attempt = 0; ; attempt++) {
      const name = attempt === 0 ? lostAndFoundName : `${lostAndFoundName}.${attempt}`
      const entry = this.directories.find(root, name)
      if (entry === null) {
        this.inodes.prepareCreate()
        return { found: null, name }
      }
      const found = this.inodes.find(entry.nodeId)
      if (found?.isDirectory) return { found, name }
    }
  }

  #freeName(directory: Inode, wanted: string): string {
    let name = wanted
    for (let attempt = 1; this.directories.find(directory, name) !== null; attempt++) name = `${wanted}.${attempt}`
    return name
  }

  #makeLostAndFound(root: Inode, name: string): Inode {
    const directory = this.inodes.create(FileType.directory | 0o700, this.#now)
    this.directories.open(directory)
    directory.linkCount = 2
    directory.parent = root.nodeId
    directory.hashSeed = (this.#now.nanos ^ directory.nodeId) >>> 0
    this.directories.add(root, name, directory.nodeId, FileType.directory >>> 12)
    root.linkCount++
    this.inodes.touch(root)
    return directory
  }
}

/** Buckets by their place, right or wrong, where Directories goes by names. */
class Buckets {
  readonly #cache: RecordCache

  constructor(cache: RecordCache) {
    this.#cache = cache
  }

  dropName(nodeId: NodeId, path: string, name: string): void {
    const bucket = this.#at(nodeId, path)
    bucket.setNames(bucket.names().filter(entry => entry.name !== name))
    this.#cache.touch(bucket)
  }

  setName(nodeId: NodeId, path: string, name: DirectoryName): void {
    const bucket = this.#at(nodeId, path)
    bucket.setNames([...bucket.names().filter(entry => entry.name !== name.name), name])
    this.#cache.touch(bucket)
  }

  /** The bucket at `path` does not exist, and its parent shall not say so. */
  dropChild(nodeId: NodeId, path: string): void {
    const parent = this.#at(nodeId, path.slice(0, -1))
    if (parent.children === null) return
    parent.setChildren(parent.children & ~(1 << Number.parseInt(path.slice(-1), 16)))
    this.#cache.touch(parent)
  }

  #at(nodeId: NodeId, path: string): DirectoryBucket {
    const decode = (bytes: Buffer | null) => new DirectoryBucket(nodeId, path, bytes)
    return this.#cache.get(bucketKey(nodeId, path), decode) as DirectoryBucket
  }
}

class RawRecord implements CachedRecord {
  readonly isPinned = false
  readonly key: string
  bytes: Buffer | null

  constructor(key: string, bytes: Buffer | null) {
    this.key = key
    this.bytes = bytes
  }
  get memoryBytes(): number {
    return this.bytes?.length ?? 0
  }
  encode(): Buffer | null {
    return this.bytes
  }
}
