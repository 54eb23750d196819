import { FuseError } from '@qsfs/fuse/errno'
import type { Inode } from '../inode.ts'
import { NotLoaded, type RecordCache } from '../record-cache.ts'
import { bucketKey, DirectoryBucket } from './directory-bucket.ts'
import type { DirectoryName } from './directory-format.ts'
import { collisionsMax, hashBits, hashesMax, nameHash, nibbleAt } from './name-hash.ts'

/** A bucket with more bytes of names is split in 16. So a change writes at most this and the like, however many names there are. */
export const bucketBytesMax = 4096
/** Only names made to have the same hash can fill a bucket that cannot be split; a record has 64 KiB. */
const crowdedBytesMax = 48 * 1024
/** Below this the hash has no more bits to choose by. */
const depthMax = Math.floor(hashBits / 4)

/** Names → inode numbers, for all directories: a tree of buckets each, 16-fold, by the hash of the name.
 *  Looks may throw NotLoaded; whoever changes a name looks at it (`find`) before his first change. */
export class Directories {
  readonly #cache: RecordCache

  constructor(cache: RecordCache) {
    this.#cache = cache
  }

  /** A directory was just made: nothing of it has to be looked for in the store. */
  open(directory: Inode): void {
    this.#cache.put(new DirectoryBucket(directory.nodeId, '', null))
  }

  find(directory: Inode, name: string): DirectoryName | null {
    const hash = nameHash(name, directory.hashSeed)
    return this.#locate(directory, hash).bucket?.find(name, hash) ?? null
  }

  /** Adds a name that is not there.
   *  @throws FuseError ENOSPC when 128 names of one hash are there: before anything was changed */
  add(directory: Inode, name: string, nodeId: number, type: number): void {
    const hash = nameHash(name, directory.hashSeed)
    const { bucket, parent, path } = this.#locate(directory, hash)
    const target = bucket ?? new DirectoryBucket(directory.nodeId, path, null)
    const cookie = target.freeCookie(hash)
    if (cookie === null || target.sizeBytes > crowdedBytesMax)
      throw new FuseError('ENOSPC', 'too many names of one hash')
    target.insert({ name, nodeId, type, cookie })
    this.#cache.touch(target)
    if (bucket === null && parent !== null) this.#setChild(parent, nibbleAt(hash, parent.path.length), true)
    if (target.sizeBytes > bucketBytesMax && path.length < depthMax) this.#split(target)
    directory.nameCount++
  }

  /** The name now means another inode; its cookie stays. */
  retarget(directory: Inode, entry: DirectoryName, nodeId: number, type: number): void {
    const { bucket } = this.#locate(directory, nameHash(entry.name, directory.hashSeed))
    bucket!.delete(entry)
    bucket!.insert({ ...entry, nodeId, type })
    this.#cache.touch(bucket!)
  }

  remove(directory: Inode, name: string): void {
    const hash = nameHash(name, directory.hashSeed)
    const { bucket, trail } = this.#locate(directory, hash)
    bucket!.delete(bucket!.find(name, hash)!)
    this.#cache.touch(bucket!)
    directory.nameCount--
    // Empty buckets go, and so do splits of empty buckets: a directory that was emptied is one absent record.
    for (let index = trail.length - 1; index >= 0; index--) {
      const below = trail[index + 1] ?? bucket!
      if (!below.isEmpty) return
      const parent = trail[index]!
      this.#setChild(parent, nibbleAt(hash, parent.path.length), false)
      if (parent.isEmpty && index === 0) parent.clear()
    }
  }

  /** Names with a cookie of at least `from`, in order. */
  *list(directory: Inode, from: number): Generator<DirectoryName> {
    for (const names of this.buckets(directory, from)) for (const name of names) yield name
  }

  /** The same by the bucketful. */
  *buckets(directory: Inode, from: number): Generator<readonly DirectoryName[]> {
    let hash = Math.floor(from / collisionsMax)
    while (hash < hashesMax) {
      const { bucket, path } = this.#locate(directory, hash, true)
      const names = bucket?.names() ?? []
      if (names.length > 0) yield names[0]!.cookie >= from ? names : names.filter(({ cookie }) => cookie >= from)
      const width = 2 ** (hashBits - 4 * path.length)
      hash = (Math.floor(hash / width) + 1) * width
    }
  }

  /** The bucket that holds names of this hash (null: that child does not exist), and the splits above it, top first. */
  #locate(directory: Inode, hash: number, withSiblings = false) {
    const trail: DirectoryBucket[] = []
    let path = ''
    for (;;) {
      const bucket = this.#bucket(directory.nodeId, path)
      if (bucket.children === null) return { bucket, trail, path, parent: trail.at(-1) ?? null }
      trail.push(bucket)
      if (withSiblings) this.#prefetchChildren(bucket)
      const nibble = nibbleAt(hash, path.length)
      path += nibble.toString(16)
      if ((bucket.children & (1 << nibble)) === 0) return { bucket: null, trail, path, parent: bucket }
    }
  }

  /** A listing needs them all: together they take one wait instead of sixteen. */
  #prefetchChildren({ nodeId, path, children }: DirectoryBucket): void {
    const paths = [...'0123456789abcdef']
      .filter((_, nibble) => (children! & (1 << nibble)) !== 0)
      .map(digit => path + digit)
    const loading = this.#cache.prefetch(
      paths.map(child => [bucketKey(nodeId, child), bytes => new DirectoryBucket(nodeId, child, bytes)] as const),
    )
    if (loading !== null) throw new NotLoaded(loading)
  }

  #bucket(nodeId: number, path: string): DirectoryBucket {
    const key = bucketKey(nodeId, path)
    return this.#cache.get(key, bytes => new DirectoryBucket(nodeId, path, bytes)) as DirectoryBucket
  }

  #split(bucket: DirectoryBucket): void {
    const depth = bucket.path.length
    const byNibble: DirectoryName[][] = Array.from({ length: 16 }, () => [])
    for (const name of bucket.names()) byNibble[nibbleAt(Math.floor(name.cookie / collisionsMax), depth)]!.push(name)
    let children = 0
    for (const [nibble, names] of byNibble.entries()) {
      if (names.length === 0) continue
      children |= 1 << nibble
      const child = new DirectoryBucket(bucket.nodeId, bucket.path + nibble.toString(16), null)
      child.setNames(names)
      this.#cache.touch(child)
    }
    bucket.setChildren(children)
    this.#cache.touch(bucket)
  }

  #setChild(parent: DirectoryBucket, nibble: number, exists: boolean): void {
    const bit = 1 << nibble
    parent.setChildren(exists ? parent.children! | bit : parent.children! & ~bit)
    this.#cache.touch(parent)
  }
}
