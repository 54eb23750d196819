import type { NodeId } from '@qsfs/fuse/filesystem'
import { bucketKey } from '../../tree/directory/directory-bucket.ts'
import { type DirectoryName, decodeBucket } from '../../tree/directory/directory-format.ts'
import { collisionsMax, nameHash, nibbleAt } from '../../tree/directory/name-hash.ts'
import type { Inode } from '../../tree/inode.ts'
import { decodeInodes, inodesPerRecord } from '../../tree/inode-format.ts'
import type { FindingKind, Repair } from '../findings.ts'
import { parseRecordKey } from '../view/record-keys.ts'
import type { CheckContext } from './check.ts'
import { decoded } from './check-inodes.ts'

/** The names of every directory; counts them for the inodes they mean. Comes after all inodes are known. */
export function checkDirectories(context: CheckContext): void {
  const { snapshot, facts, findings } = context
  const bucketCounts = new Map<NodeId, number>()
  for (const key of snapshot.keys()) {
    const parsed = parseRecordKey(key)
    if (parsed?.kind !== 'bucket') continue
    bucketCounts.set(parsed.nodeId, (bucketCounts.get(parsed.nodeId) ?? 0) + 1)
  }
  const withStrays = new Map<NodeId, Set<string>>()
  for (const inode of directories(context)) {
    const check = new DirectoryCheck(context, inode)
    check.walk('')
    check.finish()
    if (check.bucketCount !== (bucketCounts.get(inode.nodeId) ?? 0)) withStrays.set(inode.nodeId, check.paths())
  }
  for (const key of snapshot.keys()) {
    const parsed = parseRecordKey(key)
    if (parsed?.kind !== 'bucket') continue
    const isStray = facts.isDirectory(parsed.nodeId)
      ? withStrays.get(parsed.nodeId)?.has(parsed.path) === false
      : facts.typeOf(parsed.nodeId) !== null
    if (!isStray) continue
    const isOfNobody = facts.typeOf(parsed.nodeId) === 0
    findings.add('record-stray', `record ${key}`, isOfNobody ? 'there is no such inode' : 'no bucket leads to it', {
      repair: isOfNobody ? tree => tree.setRecord(key, null) : null,
    })
  }
}

function* directories({ snapshot, facts }: CheckContext): Generator<Inode> {
  let group: (Inode | null)[] = []
  let groupFirst = -1
  for (const nodeId of facts.nodeIds()) {
    if (!facts.isDirectory(nodeId)) continue
    const first = nodeId - (nodeId % inodesPerRecord)
    if (first !== groupFirst) {
      group = decodeInodes(first, snapshot.get(`i${first / inodesPerRecord}`))
      groupFirst = first
    }
    yield group[nodeId % inodesPerRecord]!
  }
}

/** One directory. Memory: the names of one bucket, and the paths of its buckets when they have to be told. */
class DirectoryCheck {
  readonly #context: CheckContext
  readonly #inode: Inode
  bucketCount = 0
  #nameCount = 0
  #isWhole = true

  constructor(context: CheckContext, inode: Inode) {
    this.#context = context
    this.#inode = inode
  }

  walk(path: string): void {
    const { snapshot, findings } = this.#context
    const { nodeId } = this.#inode
    const key = bucketKey(nodeId, path)
    if (!snapshot.has(key)) {
      // An empty directory has no record.
      if (path === '') return
      findings.add('bucket-missing', `record ${key}`, 'the names in it are lost', {
        nodeId,
        repair: ({ buckets }) => buckets.dropChild(nodeId, path),
      })
      return
    }
    this.bucketCount++
    const stored = decoded(this.#context, key, bytes => decodeBucket({ nodeId, path }, bytes))
    if (stored === null) this.#isWhole = false
    else if ('names' in stored) this.#checkNames(path, stored.names)
    else for (const child of childPaths(path, stored.children)) this.walk(child)
  }

  /** What only the whole directory can tell. */
  finish(): void {
    const { nodeId, nameCount } = this.#inode
    const found = this.#nameCount
    if (!this.#isWhole || found === nameCount) return
    this.#context.findings.add('directory-count', `inode ${nodeId}`, `${nameCount} counted, ${found} found`, {
      nodeId,
      repair: ({ inodes }) => {
        const directory = inodes.get(nodeId)
        directory.nameCount = found
        inodes.touch(directory)
      },
    })
  }

  /** Of all buckets that the directory leads to. */
  paths(): Set<string> {
    const { snapshot } = this.#context
    const { nodeId } = this.#inode
    const paths = new Set<string>()
    const visit = (path: string) => {
      if (!snapshot.has(bucketKey(nodeId, path))) return
      paths.add(path)
      const children = childrenOf(snapshot.get(bucketKey(nodeId, path))!, { nodeId, path })
      for (const child of childPaths(path, children)) visit(child)
    }
    visit('')
    return paths
  }

  #checkNames(path: string, names: readonly DirectoryName[]): void {
    const seen = new Set<string>()
    const cookies = new Set<number>()
    this.#nameCount += names.length
    for (const entry of names) {
      if (seen.has(entry.name)) {
        // The name then means this inode; the other one is found by its want of a name.
        this.#report('name-duplicate', entry, path, ({ buckets }) => buckets.setName(this.#inode.nodeId, path, entry))
      } else if (cookies.has(entry.cookie)) {
        this.#report('name-duplicate', entry, path, this.#putWhereItBelongs(path, entry))
      }
      seen.add(entry.name)
      cookies.add(entry.cookie)
      this.#checkName(path, entry)
    }
  }

  #checkName(path: string, entry: DirectoryName): void {
    const { facts } = this.#context
    const { nodeId: directoryId, hashSeed } = this.#inode
    const { name, nodeId, cookie } = entry
    const hash = nameHash(name, hashSeed)
    const isInPlace =
      Math.floor(cookie / collisionsMax) === hash &&
      [...path].every((digit, depth) => Number.parseInt(digit, 16) === nibbleAt(hash, depth))
    if (!isInPlace) {
      this.#report('name-misplaced', entry, path, this.#putWhereItBelongs(path, entry))
    }
    if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) this.#report('name-invalid', entry, path)
    const type = facts.typeOf(nodeId)
    if (type === 0) {
      this.#report('name-dangling', entry, path, ({ buckets, inodes }) => {
        const directory = inodes.get(directoryId)
        buckets.dropName(directoryId, path, name)
        directory.nameCount--
        inodes.touch(directory)
      })
      return
    }
    if (type !== null && type !== entry.type) {
      this.#report('name-type', entry, path, ({ buckets }) => buckets.setName(directoryId, path, { ...entry, type }))
    }
    if (facts.isDirectory(nodeId) && facts.namesOf(nodeId) > 0) {
      const first = facts.namedBy(nodeId)
      this.#report('directory-named-twice', entry, path, tree => tree.keepOneName(nodeId, [first, directoryId]))
    }
    facts.addName(directoryId, nodeId)
  }

  #putWhereItBelongs(path: string, { name, nodeId, type }: DirectoryName): Repair {
    const directoryId = this.#inode.nodeId
    return ({ buckets, directories, inodes }) => {
      const directory = inodes.get(directoryId)
      directories.find(directory, name)
      buckets.dropName(directoryId, path, name)
      directory.nameCount--
      // It may be where it belongs too.
      if (directories.find(directory, name) === null) directories.add(directory, name, nodeId, type)
      inodes.touch(directory)
    }
  }

  #report(kind: FindingKind, { name, nodeId }: DirectoryName, path: string, repair: Repair | null = null): void {
    const directoryId = this.#inode.nodeId
    const detail = `${JSON.stringify(name)} → inode ${nodeId} in ${bucketKey(directoryId, path)}`
    this.#context.findings.add(kind, `directory ${directoryId}`, detail, { nodeId: directoryId, repair })
  }
}

/** Of the children that a split says exist. */
export function childPaths(path: string, children: number): string[] {
  return [...'0123456789abcdef'].filter((_, nibble) => (children & (1 << nibble)) !== 0).map(digit => path + digit)
}

/** 0 for a bucket of names, and for one that cannot be read: that has a finding already. */
function childrenOf(bytes: Buffer, place: { nodeId: number; path: string }): number {
  try {
    const stored = decodeBucket(place, bytes)
    return 'children' in stored ? stored.children : 0
  } catch {
    return 0
  }
}
