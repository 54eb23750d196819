import { FuseError } from '@qsfs/fuse/errno'
import type { Attr, AttrChange, MaybePromise, NodeId, RequestContext } from '@qsfs/fuse/filesystem'
import { type FileStates, isStateAttribute } from '../state/file-state.ts'
import { accessAclName, applyAcl, chmodAcl, parseAcl } from '../tree/acl.ts'
import { attempt, change } from '../tree/attempt.ts'
import { attributesBytes, attributesBytesMax } from '../tree/attribute-format.ts'
import { FileType, type Inode, ModeBit } from '../tree/inode.ts'
import { NotLoaded } from '../tree/record-cache.ts'
import type { Volume } from './volume.ts'

/** The longest file: offsets are safe integers, and chunk numbers fit 32 bits. */
export const fileBytesMax = 2 ** 52

const capabilityName = 'security.capability'
const XattrFlag = { create: 1, replace: 2 } as const
const keptPrefixes = ['user.', 'trusted.', 'security.', 'system.posix_acl_'] as const
const xattrNameBytesMax = 255

/** getattr, setattr and the extended attributes. */
export class AttributeOperations {
  readonly #volume: Volume
  readonly #states: FileStates | null

  /** @param states null: the attributes that tell them do not exist */
  constructor(volume: Volume, states: FileStates | null) {
    this.#volume = volume
    this.#states = states
  }

  getattr(node: NodeId): MaybePromise<Attr> {
    return attempt(() => this.#volume.inodes.get(node).attr())
  }

  setattr(node: NodeId, wanted: AttrChange): MaybePromise<Attr> {
    return change(this.#volume.metadata, () => {
      const inode = this.#volume.inodes.get(node)
      const attributes = this.#volume.attributes.of(inode)
      if (wanted.sizeBytes !== undefined) {
        if (!inode.isRegular) throw new FuseError(inode.isDirectory ? 'EISDIR' : 'EINVAL')
        if (wanted.sizeBytes > fileBytesMax) throw new FuseError('EFBIG')
        if (inode.trimming !== null && wanted.sizeBytes > inode.sizeBytes) throw new NotLoaded(inode.trimming)
        this.#volume.reclaimer.lookTrim(inode, wanted.sizeBytes)
      }
      this.#apply(inode, wanted, attributes)
      this.#volume.inodes.touch(inode)
      return inode.attr()
    })
  }

  getxattr(node: NodeId, name: Buffer): MaybePromise<Buffer | null> {
    const key = xattrNameOf(name)
    if (this.#states !== null && isStateAttribute(key)) return this.#states.attribute(node, key)
    return attempt(() => this.#volume.attributes.of(this.#volume.inodes.get(node)).get(key) ?? null)
  }

  /** xattr(7): trusted ones are hidden from who may not read them. */
  listxattr(node: NodeId, { uid }: RequestContext): MaybePromise<Buffer> {
    const isShown = (name: string) => name !== '' && (uid === 0 || !name.startsWith('trusted.'))
    return attempt(() => {
      const names = this.#volume.attributes.of(this.#volume.inodes.get(node)).keys()
      return Buffer.from(
        [...names].filter(isShown).reduce((list, name) => `${list}${name}\0`, ''),
        'latin1',
      )
    })
  }

  setxattr(node: NodeId, name: Buffer, value: Buffer, flags: number): MaybePromise<void> {
    const key = changeable(xattrNameOf(name))
    const kept = Buffer.from(new Uint8Array(value).buffer)
    return change(this.#volume.metadata, () => {
      const inode = this.#volume.inodes.get(node)
      const attributes = new Map(this.#volume.attributes.of(inode))
      if ((flags & XattrFlag.create) !== 0 && attributes.has(key)) throw new FuseError('EEXIST')
      if ((flags & XattrFlag.replace) !== 0 && !attributes.has(key)) throw new FuseError('ENODATA')
      attributes.set(key, kept)
      const mode = key === accessAclName ? setAccessAcl(inode.mode, kept, attributes) : inode.mode
      if (attributesBytes(attributes) > attributesBytesMax) throw new FuseError('ENOSPC')
      inode.mode = mode
      this.#replace(inode, attributes)
    })
  }

  removexattr(node: NodeId, name: Buffer): MaybePromise<void> {
    const key = changeable(xattrNameOf(name))
    return change(this.#volume.metadata, () => {
      const inode = this.#volume.inodes.get(node)
      const attributes = new Map(this.#volume.attributes.of(inode))
      if (!attributes.delete(key)) throw new FuseError('ENODATA')
      this.#replace(inode, attributes)
    })
  }

  #replace(inode: Inode, attributes: ReadonlyMap<string, Buffer>): void {
    inode.ctime = this.#volume.now()
    this.#volume.attributes.set(inode, attributes)
    this.#volume.inodes.touch(inode)
  }

  #apply(inode: Inode, wanted: AttrChange, attributes: ReadonlyMap<string, Buffer>): void {
    const now = this.#volume.now()
    const chowns = wanted.uid !== undefined || wanted.gid !== undefined
    if (wanted.sizeBytes !== undefined) this.#resize(inode, wanted.sizeBytes, now)
    if (chowns || wanted.killPrivileges) dropPrivileges(inode)
    if (chowns && attributes.has(capabilityName))
      this.#volume.attributes.set(inode, without(attributes, capabilityName))
    inode.uid = wanted.uid ?? inode.uid
    inode.gid = wanted.gid ?? inode.gid
    if (wanted.mode !== undefined) this.#chmod(inode, wanted.mode, attributes)
    if (wanted.atime !== undefined) inode.atime = wanted.atime === 'now' ? now : wanted.atime
    if (wanted.mtime !== undefined) inode.mtime = wanted.mtime === 'now' ? now : wanted.mtime
    inode.ctime = wanted.ctime ?? now
  }

  #chmod(inode: Inode, mode: number, attributes: ReadonlyMap<string, Buffer>): void {
    inode.mode = inode.type | (mode & ModeBit.permissions)
    const acl = attributes.get(accessAclName)
    const entries = acl === undefined ? null : parseAcl(acl)
    if (entries === null) return
    this.#volume.attributes.set(inode, new Map([...attributes, [accessAclName, chmodAcl(entries, mode)]]))
  }

  #resize(inode: Inode, sizeBytes: number, now: Inode['mtime']): void {
    const { buffer, reclaimer } = this.#volume
    const shrinks = sizeBytes < inode.sizeBytes
    if (shrinks && sizeBytes === 0) buffer.noteEmptied(inode)
    inode.sizeBytes = sizeBytes
    inode.storedSizeBytes = Math.min(inode.storedSizeBytes, sizeBytes)
    if (shrinks) {
      buffer.subtract(inode, sizeBytes, Number.MAX_SAFE_INTEGER)
      reclaimer.trim(inode)
    }
    settleStoredSize(inode)
    inode.mtime = now
  }
}

/** Bytes on their way would be missing below a size that is stored before them. */
export function settleStoredSize(inode: Inode): void {
  if (inode.buffer === null || inode.buffer.isNamed) inode.storedSizeBytes = inode.sizeBytes
}

/** setuid goes, and setgid where it means a group of executors, but of a directory: write(2), truncate(2), chown(2). */
export function dropPrivileges(inode: Inode): void {
  if (inode.isDirectory) return
  inode.mode &= ~ModeBit.setUid
  if ((inode.mode & ModeBit.groupExecute) !== 0) inode.mode &= ~ModeBit.setGid
}

function setAccessAcl(mode: number, value: Buffer, attributes: Map<string, Buffer>): number {
  const entries = parseAcl(value)
  if (entries === null) throw new FuseError('EINVAL')
  const applied = applyAcl(mode, entries)
  if (applied.value === null) attributes.delete(accessAclName)
  return (mode & FileType.mask) | (applied.mode & ModeBit.permissions)
}

function without(attributes: ReadonlyMap<string, Buffer>, name: string): Map<string, Buffer> {
  const rest = new Map(attributes)
  rest.delete(name)
  return rest
}

/** @throws FuseError EPERM for what is computed */
function changeable(name: string): string {
  if (isStateAttribute(name)) throw new FuseError('EPERM', `${name} is computed`)
  return name
}

function xattrNameOf(name: Buffer): string {
  if (name.length > xattrNameBytesMax) throw new FuseError('ERANGE')
  const key = name.toString('latin1')
  if (!keptPrefixes.some(prefix => key.startsWith(prefix) && key.length > prefix.length))
    throw new FuseError('EOPNOTSUPP')
  return key
}
