import { closeSync, constants, mkdirSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { clearStaleMount } from '@qsfs/fuse/mount'

/** Says no before anything is started, where it can be known before.
 *  @throws ExpectedFailure */
export async function checkBeforeStart(mountpoint: string, transport: string): Promise<void> {
  await checkMountpoint(mountpoint)
  const reason = whyNoFuse() ?? (transport === 'kernel' ? whyNoMount() : null)
  if (reason !== null) throw new ExpectedFailure(1, reason)
}

/** Takes a dead mount away, makes the directory if only it is missing, and insists that it is empty. */
async function checkMountpoint(mountpoint: string): Promise<void> {
  await clearStaleMount(mountpoint)
  try {
    mkdirSync(mountpoint)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new ExpectedFailure(2, `the mountpoint ${mountpoint} cannot be made: ${(cause as Error).message}`, {
        cause,
      })
    }
  }
  if (!statSync(mountpoint).isDirectory())
    throw new ExpectedFailure(2, `the mountpoint ${mountpoint} is not a directory`)
  if (readdirSync(mountpoint).length > 0) throw new ExpectedFailure(2, `the mountpoint ${mountpoint} is not empty`)
}

/** @returns a sentence when /dev/fuse cannot be opened, else null */
export function whyNoFuse(): string | null {
  try {
    closeSync(openSync('/dev/fuse', constants.O_RDWR))
    return null
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const known: Readonly<Record<string, string>> = {
      ENOENT: 'there is no /dev/fuse: run `modprobe fuse`, or give the container --device /dev/fuse',
      ENXIO: 'the kernel has no FUSE: run `modprobe fuse`',
      ENODEV: 'the kernel has no FUSE: run `modprobe fuse`',
      EACCES: 'no permission to open /dev/fuse: run as root or with sudo',
      EPERM: 'no permission to open /dev/fuse: give the container --device /dev/fuse',
    }
    return known[code ?? ''] ?? `/dev/fuse cannot be opened: ${message}`
  }
}

/** @returns a sentence when this process may not mount by itself, else null */
export function whyNoMount(): string | null {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  // capability.h: CAP_SYS_ADMIN is bit 21.
  if ((BigInt(`0x${effective}`) >> 21n) & 1n) return null
  return process.getuid?.() === 0
    ? 'no privilege to mount: give the container --cap-add SYS_ADMIN, or choose --transport fuse-native'
    : 'no privilege to mount: run as root or with sudo, or choose --transport fuse-native'
}
