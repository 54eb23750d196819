import { ModeBit } from './inode.ts'

/** POSIX access control lists as extended attributes hold them: include/uapi/linux/posix_acl_xattr.h, version 2.
 *  The kernel checks them; the filesystem keeps mode and list in step and hands defaults down (acl(5)). */
export const accessAclName = 'system.posix_acl_access'
export const defaultAclName = 'system.posix_acl_default'

const version = 2
const headerBytes = 4
const entryBytes = 8
/** include/uapi/linux/posix_acl.h */
const Tag = { userObject: 0x01, user: 0x02, groupObject: 0x04, group: 0x08, mask: 0x10, other: 0x20 } as const

interface AclEntry {
  readonly tag: number
  readonly permissions: number
  readonly id: number
}

/** null: not a list of version 2. */
export function parseAcl(value: Buffer): AclEntry[] | null {
  if (value.length < headerBytes || (value.length - headerBytes) % entryBytes !== 0) return null
  if (value.readUInt32LE(0) !== version) return null
  const entries: AclEntry[] = []
  for (let at = headerBytes; at < value.length; at += entryBytes) {
    entries.push({
      tag: value.readUInt16LE(at),
      permissions: value.readUInt16LE(at + 2),
      id: value.readUInt32LE(at + 4),
    })
  }
  return entries
}

function formatAcl(entries: readonly AclEntry[]): Buffer {
  const value = Buffer.allocUnsafeSlow(headerBytes + entries.length * entryBytes)
  value.writeUInt32LE(version, 0)
  entries.forEach(({ tag, permissions, id }, index) => {
    const at = headerBytes + index * entryBytes
    value.writeUInt16LE(tag, at)
    value.writeUInt16LE(permissions, at + 2)
    value.writeUInt32LE(id, at + 4)
  })
  return value
}

/** The mode that goes with a list, and the list if it says more than the mode does. */
export function applyAcl(mode: number, entries: readonly AclEntry[]): { mode: number; value: Buffer | null } {
  const isMinimal = entries.every(({ tag }) => tag === Tag.userObject || tag === Tag.groupObject || tag === Tag.other)
  const classes = permissionsOf(entries)
  return { mode: (mode & ~0o777) | classes, value: isMinimal ? null : formatAcl(entries) }
}

/** The list after a chmod: owner, mask (or group) and other follow the mode. */
export function chmodAcl(entries: readonly AclEntry[], mode: number): Buffer {
  const hasMask = entries.some(({ tag }) => tag === Tag.mask)
  return formatAcl(entries.map(entry => ({ ...entry, permissions: fromMode(entry, mode, hasMask) })))
}

/** What a new file in a directory with this default list gets: both restrict each other.
 *  @param mode as asked for by the caller */
export function inheritAcl(defaults: readonly AclEntry[], mode: number): { mode: number; value: Buffer | null } {
  const hasMask = defaults.some(({ tag }) => tag === Tag.mask)
  const entries = defaults.map(entry => ({ ...entry, permissions: entry.permissions & maskedBy(entry, mode, hasMask) }))
  const applied = applyAcl(mode, entries)
  return {
    mode: (applied.mode & 0o777) | (mode & (ModeBit.permissions & ~0o777)) | (mode & ~ModeBit.permissions),
    value: applied.value,
  }
}

function permissionsOf(entries: readonly AclEntry[]): number {
  const of = (tag: number) => entries.find(entry => entry.tag === tag)?.permissions
  return ((of(Tag.userObject) ?? 0) << 6) | ((of(Tag.mask) ?? of(Tag.groupObject) ?? 0) << 3) | (of(Tag.other) ?? 0)
}

function fromMode({ tag, permissions }: AclEntry, mode: number, hasMask: boolean): number {
  if (tag === Tag.userObject) return (mode >> 6) & 7
  if (tag === Tag.mask || (tag === Tag.groupObject && !hasMask)) return (mode >> 3) & 7
  return tag === Tag.other ? mode & 7 : permissions
}

function maskedBy(entry: AclEntry, mode: number, hasMask: boolean): number {
  return fromMode({ ...entry, permissions: 7 }, mode, hasMask)
}
