import type { RequestContext } from '@qsfs/fuse/filesystem'
import { accessAclName, defaultAclName, inheritAcl, parseAcl } from '../tree/acl.ts'
import { FileType, type Inode, ModeBit } from '../tree/inode.ts'
import type { Volume } from './volume.ts'

/** What an inode is made with. */
export interface NewInode {
  /** Type and permissions, unmasked: the caller's umask or the directory's default list does that. */
  readonly mode: number
  readonly rdev?: number
  readonly target?: Buffer | undefined
}

/** What it takes from its directory; a look, before the first change. */
export interface Inherited {
  readonly mode: number
  readonly attributes: ReadonlyMap<string, Buffer>
}

/** Mode and access lists of a new child: acl(5), "object creation and default ACLs". */
export function inheritedFrom(volume: Volume, directory: Inode, mode: number, umask: number): Inherited {
  const defaults = volume.attributes.of(directory).get(defaultAclName)
  const entries = defaults === undefined ? null : parseAcl(defaults)
  const attributes = new Map<string, Buffer>()
  if ((mode & FileType.mask) === FileType.symlink) return { mode, attributes }
  if (defaults === undefined || entries === null) return { mode: mode & ~umask, attributes }
  const inherited = inheritAcl(entries, mode)
  if (inherited.value !== null) attributes.set(accessAclName, inherited.value)
  if ((mode & FileType.mask) === FileType.directory) attributes.set(defaultAclName, defaults)
  return { mode: inherited.mode, attributes }
}

/** Makes the inode that `inodes.prepareCreate` was asked for, as one of `directory`, whose name for it is the caller's. */
export function makeInode(
  volume: Volume,
  directory: Inode,
  { mode, attributes: given }: Inherited,
  { rdev = 0, target }: Omit<NewInode, 'mode'>,
  { uid, gid }: RequestContext,
): Inode {
  const { attributes, directories, inodes } = volume
  const now = volume.now()
  const inode = inodes.create(mode, now)
  inode.uid = uid
  inode.gid = (directory.mode & ModeBit.setGid) === 0 ? gid : directory.gid
  inode.rdev = rdev
  inode.linkCount = 1
  if (inode.isDirectory) {
    inode.linkCount = 2
    inode.parent = directory.nodeId
    inode.hashSeed = seedOf(inode.nodeId, now.nanos)
    if ((directory.mode & ModeBit.setGid) !== 0) inode.mode |= ModeBit.setGid
    directory.linkCount++
    directories.open(inode)
  }
  if (given.size > 0) attributes.set(inode, given)
  if (target !== undefined) {
    attributes.set(inode, new Map([['', target]]))
    inode.sizeBytes = target.length
    inode.storedSizeBytes = target.length
  }
  return inode
}

/** Differs from directory to directory and cannot be guessed from outside. */
function seedOf(nodeId: number, nanos: number): number {
  return (Math.imul(nodeId, 0x9e3779b1) ^ Math.imul(nanos, 0x85ebca6b)) >>> 0
}
