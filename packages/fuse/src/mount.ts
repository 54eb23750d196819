import { execFile, spawn } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Log } from '@qsfs/telemetry/log'

const run = promisify(execFile)

export interface MountOptions {
  /** Absolute, an empty directory. */
  readonly mountpoint: string
  /** What `mount` and `df` show as the source. */
  readonly fsname: string
  /** Others than the one who mounts may enter; who may do what is for the modes to say. */
  readonly allowOther: boolean
  readonly log: Log
}

export interface KernelMount {
  /** An open /dev/fuse, blocking. Whoever serves it owns it; a process that hands it to a child keeps it open. */
  readonly fd: number
  readonly mountpoint: string
  /** Waits until everything dirty is written and takes the mount away; a busy one vanishes from the tree and ends with
   *  its last user. Repeating it changes nothing. */
  unmount(): Promise<'unmounted' | 'busy'>
}

/** One sentence for the user. `exitCode` 2: the request is wrong. 1: this machine says no. */
export class MountError extends Error {
  override readonly name = 'MountError'
  readonly exitCode: 1 | 2

  constructor(exitCode: 1 | 2, message: string, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** Long enough for a living filesystem to say what its root is. */
const probeTimeoutMs = 5000

/** Mounts /dev/fuse with an inherited descriptor: no helper, no native addon, but it takes CAP_SYS_ADMIN. From now on
 *  whoever touches the mountpoint waits until the descriptor is served.
 *
 *  A mount whose server died is mounted over, not taken away first: in between, a program that goes on writing would write
 *  into the directory below. `unmount` takes both away.
 *  @throws MountError */
export async function mountKernel({ mountpoint, fsname, allowOther, log }: MountOptions): Promise<KernelMount> {
  await requireMountpoint(mountpoint)
  const fd = openDevice()
  try {
    const { uid, gid } = mountingUser()
    // rootmode: the root is a directory. max_read: reads come whole up to max_pages.
    const options = `fd=3,rootmode=40000,user_id=${uid},group_id=${gid},default_permissions,max_read=1048576`
    const all = allowOther ? `${options},allow_other` : options
    await mountWith(fd, ['-i', '-c', '-t', 'fuse.qsfs', '-o', all, '--', fsname, mountpoint])
  } catch (error) {
    closeSync(fd)
    throw error
  }
  try {
    await raiseReadAhead(mountpoint)
  } catch (error) {
    // Only slower: /sys is often read-only in a container.
    log.warn('mount.readahead_unchanged', { mountpoint, error })
  }
  return { fd, mountpoint, unmount: () => unmount(mountpoint) }
}

/** A mount that another process made and holds on to. */
export function adoptMount(fd: number, mountpoint: string): KernelMount {
  return { fd, mountpoint, unmount: () => unmount(mountpoint) }
}

/** FUSE_NOTIFY_RESEND came with Linux 6.9: without it nobody may go on after a process that died. */
export function canBeResumed(kernelRelease: string): boolean {
  const [major = 0, minor = 0] = kernelRelease.split('.').map(Number)
  return major > 6 || (major === 6 && minor >= 9)
}

/** Whether `mountKernel` would accept it. To be asked before anything else is taken into possession for the mount.
 *  @throws MountError */
export async function requireMountpoint(mountpoint: string): Promise<void> {
  if (!(await isStale(mountpoint))) await requireEmptyDirectory(mountpoint)
}

/** Ends a mount that nobody will go on serving, whoever holds its descriptor: all who wait there get an error now, and its place is free.
 *  @throws MountError 1 when it cannot be ended */
export async function abandonMount(mountpoint: string): Promise<void> {
  if (!(await isMounted(mountpoint))) return
  // -f ends the connection before it looks whether somebody works in the mount, and then refuses.
  await run('umount', ['-f', '--no-canonicalize', '--', mountpoint]).catch(() => undefined)
  await clearStaleMount(mountpoint)
}

/** Takes away a mount whose server has died (ENOTCONN to everyone). A living one is left alone.
 *  @throws MountError 1 when something living is mounted there */
export async function clearStaleMount(mountpoint: string): Promise<void> {
  // There may be another one below it.
  while (await isStale(mountpoint)) await detach(mountpoint)
}

/** @throws MountError 1 when something living is mounted there */
async function isStale(mountpoint: string): Promise<boolean> {
  if (!(await isMounted(mountpoint))) return false
  if (await isAlive(mountpoint)) throw new MountError(1, `${mountpoint} is in use: something is mounted there already`)
  return true
}

export async function isMounted(mountpoint: string): Promise<boolean> {
  return (await mountedDevice(mountpoint)) !== null
}

/** The kernel's default of 128 KiB reads 1.5 GB/s through the mount, 1 MiB reads 2.2; and a read that misses the cache
 *  asks the store for eight blocks at once. INIT's reply allows as much. */
async function raiseReadAhead(mountpoint: string): Promise<void> {
  const device = await mountedDevice(mountpoint)
  if (device !== null) await writeFile(`/sys/class/bdi/${device}/read_ahead_kb`, '1024')
}

/** "major:minor" of the topmost mount there, or null. The mount table is asked, not the mount: it answers even when the
 *  filesystem does not. */
export async function mountedDevice(mountpoint: string): Promise<string | null> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  // proc(5): the third field is the device, the fifth the mount point, with space, tab, newline and backslash as three octal digits.
  const escaped = mountpoint.replace(/[ \t\n\\]/g, c => `\\${c.charCodeAt(0).toString(8).padStart(3, '0')}`)
  const rows = table.split('\n').map(line => line.split(' '))
  return rows.findLast(row => row[4] === escaped)?.[2] ?? null
}

/** Who mounts; everyone else is somebody other. */
export function mountingUser(): { readonly uid: number; readonly gid: number } {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
}

async function unmount(mountpoint: string): Promise<'unmounted' | 'busy'> {
  if (!(await isMounted(mountpoint))) return 'unmounted'
  const outcome = await unmountTopmost(mountpoint)
  await clearStaleMount(mountpoint)
  return outcome
}

async function unmountTopmost(mountpoint: string): Promise<'unmounted' | 'busy'> {
  try {
    await run('umount', ['--', mountpoint])
    return 'unmounted'
  } catch {
    // Busy is the usual reason; whatever it is, lazily always works, and fails here with its own words if it does not.
    await detach(mountpoint)
    return 'busy'
  }
}

/** Out of the tree now, gone with its last user. Whoever is not root asks libfuse's helper. */
async function detach(mountpoint: string): Promise<void> {
  if (process.getuid?.() === 0) await run('umount', ['-l', '--', mountpoint])
  else await run('fusermount', ['-uz', '--', mountpoint])
}

/** In a child: a filesystem that hangs must not take a thread of ours with it. */
async function isAlive(mountpoint: string): Promise<boolean> {
  try {
    const env = { ...process.env, LC_ALL: 'C' }
    // statfs(2), not stat(2): the kernel answers the latter from its cache, after the server's death too.
    await run('stat', ['--file-system', '--', mountpoint], { env, timeout: probeTimeoutMs, killSignal: 'SIGKILL' })
    return true
  } catch (error) {
    return !String((error as { stderr?: unknown }).stderr).includes('Transport endpoint is not connected')
  }
}

/** @throws MountError 2 */
export async function requireEmptyDirectory(mountpoint: string): Promise<void> {
  const found = await stat(mountpoint).catch((cause: NodeJS.ErrnoException) => {
    throw new MountError(2, `the mountpoint ${mountpoint} cannot be used: ${cause.message}`, { cause })
  })
  if (!found.isDirectory()) throw new MountError(2, `the mountpoint ${mountpoint} is not a directory`)
  if ((await readdir(mountpoint)).length > 0) throw new MountError(2, `the mountpoint ${mountpoint} is not empty`)
}

function openDevice(): number {
  try {
    return openSync('/dev/fuse', constants.O_RDWR)
  } catch (cause) {
    throw new MountError(1, deviceSentences[(cause as NodeJS.ErrnoException).code ?? ''] ?? String(cause), { cause })
  }
}

const deviceSentences: Readonly<Record<string, string>> = {
  ENOENT: 'there is no /dev/fuse: load the fuse module, or give the container --device /dev/fuse',
  ENODEV: 'the kernel has no FUSE: load the fuse module (modprobe fuse)',
  ENXIO: 'the kernel has no FUSE: load the fuse module (modprobe fuse)',
  EACCES: 'no permission to open /dev/fuse: run as root, or choose the transport fuse-native',
  EPERM: 'no permission to open /dev/fuse: run as root and give the container --device /dev/fuse',
}

function mountWith(fd: number, args: readonly string[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const child = spawn('mount', args, { stdio: ['ignore', 'ignore', 'pipe', fd] })
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', text => {
    said += text
  })
  child.on('error', cause => reject(new MountError(1, `mount(8) could not be run: ${cause.message}`, { cause })))
  child.on('close', code => {
    if (code === 0) return resolve()
    const why = said.trim().split('\n')[0] ?? ''
    const hint = process.getuid?.() === 0 ? 'in a container it takes --cap-add SYS_ADMIN' : 'run as root or with sudo'
    reject(new MountError(1, `mounting failed (${why || `exit code ${code}`}): ${hint}`))
  })
  return promise
}
