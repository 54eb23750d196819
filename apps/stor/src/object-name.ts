import { posix } from 'node:path'
import { StorError } from './errors.ts'
import { NAME_BYTES_MAX } from './metadata/name-record.ts'

/** The name of a file's object: its absolute path, cleaned, the virtual root stripped. Pure, for stores and look-ups
 *  alike: what was stored under a path is found under it.
 *  @throws StorError 'refused' for a path outside the root, or too long for a record */
export function objectNameOf(path: string, root: string | null): string {
  const clean = posix.normalize(path)
  if (!clean.startsWith('/')) throw new StorError('refused', `${path} is not an absolute path`)
  if (Buffer.byteLength(clean) > NAME_BYTES_MAX) {
    throw new StorError('refused', `a name of ${Buffer.byteLength(clean)} bytes is longer than ${NAME_BYTES_MAX}`)
  }
  if (root === null) return clean
  const base = posix.normalize(root).replace(/\/+$/, '')
  if (clean === base || !clean.startsWith(`${base}/`)) {
    throw new StorError('refused', `${path} is not under the root ${root} of the config`)
  }
  return clean.slice(base.length)
}
