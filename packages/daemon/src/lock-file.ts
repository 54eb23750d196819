import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { ExpectedFailure } from './failure.ts'

/** Holds flock(2) on `path` until disposed, or until this process dies, kill -9 included. Its directory is made when missing.
 *  Node has no flock: flock(1) locks the open file it inherits as descriptor 3, and the lock stays with our descriptor.
 *  0-db's C server takes the same lock. Blocks the event loop for up to `waitSeconds`: only for the start of a daemon.
 *  @param owns what the lock guards, for the sentence "… is in use by another process"
 *  @throws ExpectedFailure when another process holds it, or there is no flock(1) */
export function lockFile(
  path: string,
  owns: string,
  { waitSeconds = 0 }: { readonly waitSeconds?: number } = {},
): Disposable {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const fd = openSync(path, 'a', 0o600)
  const wait = waitSeconds > 0 ? ['-w', String(waitSeconds)] : ['-n']
  const result = spawnSync('flock', ['-x', ...wait, '3'], { stdio: ['ignore', 'ignore', 'pipe', fd], encoding: 'utf8' })
  if (result.status === 0) return { [Symbol.dispose]: once(() => closeSync(fd)) }

  closeSync(fd)
  if (result.status === 1) throw new ExpectedFailure(1, `${owns} is in use by another process (it holds ${path})`)
  const reason = result.error?.message ?? result.stderr.trim()
  throw new ExpectedFailure(1, `${path} cannot be locked: ${reason}; install util-linux, which has flock(1)`, {
    cause: result.error,
  })
}

/** A descriptor closed twice may be somebody else's by then. */
function once(action: () => void): () => void {
  let isDone = false
  return () => {
    if (isDone) return
    isDone = true
    action()
  }
}
