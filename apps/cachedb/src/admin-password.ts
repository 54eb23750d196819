import { readFileSync } from 'node:fs'
import { ExpectedFailure } from '@qsfs/daemon/run'

const passwordBytesMax = 128

/** The first line of the file; '' without one.
 *  @throws ExpectedFailure */
export function readAdminPassword(path: string | undefined): string {
  if (path === undefined) return ''
  const password = firstLine(path)
  if (password === '' || Buffer.byteLength(password) > passwordBytesMax)
    throw new ExpectedFailure(2, `the first line of ${path} must be a password of 1 to ${passwordBytesMax} bytes`)
  return password
}

function firstLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').split(/\r?\n/, 1)[0]!
  } catch (error) {
    throw new ExpectedFailure(2, `the admin password file cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
}
