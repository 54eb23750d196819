import { posix } from 'node:path'
import { StorError } from './errors.ts'

/** The name of a file's object: its absolute path, cleaned, the virtual root stripped. Pure, for stores and look-ups
 *  alike: what was stored under a path is found under it.
 *  @throws StorError 'refused' for a path outside the root */
export function objectNameOf(path: string, root: string | null): string {
  const clean = posix.normalize(path)
  if (!clean.startsWith('/')) throw new StorError('refused', `${path} is not an absolute path`)
  if (root === null) return clean
  const base = posix.normalize(root).replace(/\/+$/, '')
  if (clean === base || !clean.startsWith(`${base}/`)) {
    throw new StorError('refused', `${path} is not under the root ${root} of the config`)
  }
  return clean.slice(base.length)
}
