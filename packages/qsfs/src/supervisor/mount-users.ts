import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** The processes that stand in a mount or have a file of it open, as `name (pid)`; of other users' only what we may see. Reads
 *  links in /proc alone: nothing is asked of the mount. */
export function mountUsers(mountpoint: string): readonly string[] {
  const isInside = insideOf(mountpoint)
  return entriesOf('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => pathsOf(pid).some(isInside))
    .map(pid => `${nameOf(pid)} (${pid})`)
}

/** Whether a path without links lies in a mount. The mount is not touched: it may hang. */
export function insideOf(mountpoint: string): (path: string) => boolean {
  const place = join(realpathSync(dirname(mountpoint)), basename(mountpoint))
  return path => path === place || path.startsWith(`${place}/`)
}

function pathsOf(pid: string): readonly string[] {
  const descriptors = entriesOf(`/proc/${pid}/fd`).map(fd => `fd/${fd}`)
  return ['cwd', 'root', ...descriptors].map(link => ifThere(() => readlinkSync(`/proc/${pid}/${link}`, 'utf8'), ''))
}

function entriesOf(directory: string): readonly string[] {
  return ifThere(() => readdirSync(directory), [])
}

function nameOf(pid: string): string {
  return ifThere(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim(), '?')
}

/** Processes end while they are looked at, and those of others are closed to us. */
function ifThere<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch {
    return otherwise
  }
}
