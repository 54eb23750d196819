import { ExpectedFailure } from '@qsfs/daemon/run'
import { type Storage, StorageError } from './segment/storage.ts'

const passwordBytesMax = 128

/** The first line of the file, one character per byte; '' without one.
 *  @throws ExpectedFailure */
export function readAdminPassword(storage: Storage, path: string | undefined): string {
  if (path === undefined) return ''
  const password = firstLine(storage, path)
  if (password === '' || password.length > passwordBytesMax)
    throw new ExpectedFailure(2, `the first line of ${path} must be a password of 1 to ${passwordBytesMax} bytes`)
  return password
}

function firstLine(storage: Storage, path: string): string {
  try {
    using file = storage.openRead(path)
    return file.readSync(0, Math.min(file.sizeBytes, 4096)).toString('latin1').split(/\r?\n/, 1)[0]!
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    throw new ExpectedFailure(2, `the admin password file cannot be read: ${error.message}`, { cause: error })
  }
}
