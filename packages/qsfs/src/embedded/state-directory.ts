import { createHash } from 'node:crypto'
import { accessSync, constants, lstatSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ExpectedFailure } from '@qsfs/daemon/failure'

/** Where everything of one embedded qsfs is. `statePath` is absolute. */
export interface StateDirectory {
  readonly path: string
  readonly masterKeyPath: string
  readonly lockPath: string
  readonly processesPath: string
  readonly cachePath: string
  /** Names the config of the user that the last start was given. */
  readonly lastConfigPath: string
  configPath(daemon: string): string
  logPath(daemon: string): string
  backendPath(index: number): string
}

export function stateDirectory(path: string): StateDirectory {
  return {
    path,
    masterKeyPath: join(path, 'master.key'),
    lockPath: join(path, 'supervisor.lock'),
    processesPath: join(path, 'processes.json'),
    cachePath: join(path, 'cache'),
    lastConfigPath: join(path, 'config', 'last-start.json'),
    configPath: daemon => join(path, 'config', `${daemon}.toml`),
    logPath: daemon => join(path, 'logs', `${daemon}.log`),
    backendPath: index => join(path, 'backends', String(index)),
  }
}

/** Makes the directories that are ours to make, closed to others.
 *  @throws ExpectedFailure */
export function makeStateDirectory({ path }: StateDirectory): void {
  for (const directory of [path, join(path, 'config'), join(path, 'logs')]) makePrivate(directory, true)
}

/** Sockets have short paths (107 bytes), so they do not live in the state directory: /run/qsfs-<8 hex of its path>, or
 *  the same below the user's runtime directory. Made, mode 0700, ours; its link `state` leads back.
 *  @throws ExpectedFailure */
export function makeSocketDirectory(statePath: string, environment: NodeJS.ProcessEnv): string {
  const id = createHash('sha256').update(statePath).digest('hex').slice(0, 8)
  const directory = join(socketParents(environment).find(isWritable) ?? tmpdir(), `qsfs-${id}`)
  makePrivate(directory, false)
  const link = join(directory, 'state')
  rmSync(link, { force: true })
  symlinkSync(statePath, link)
  return directory
}

/** Where socket directories may be. */
export function socketParents(environment: NodeJS.ProcessEnv): readonly string[] {
  return ['/run', environment.XDG_RUNTIME_DIR, tmpdir()].filter(parent => parent !== undefined)
}

function makePrivate(directory: string, recursive: boolean): void {
  try {
    mkdirSync(directory, { recursive, mode: 0o700 })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new ExpectedFailure(1, `${directory} cannot be made: ${(cause as Error).message}`, { cause })
    }
  }
  // In /tmp another user may have been first, with a link or a directory of their own.
  const found = lstatSync(directory)
  if (!found.isDirectory()) throw new ExpectedFailure(2, `${directory} is not a directory`)
  if (!recursive && (found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0)) {
    throw new ExpectedFailure(1, `${directory} belongs to somebody else or is open to others; remove it`)
  }
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK)
    return true
  } catch {
    return false
  }
}
