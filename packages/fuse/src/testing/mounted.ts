import { execFile } from 'node:child_process'
import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '@qsfs/concurrency/clock'
import { Wakefulness } from '@qsfs/concurrency/wakefulness'
import { silentLog } from '@qsfs/telemetry/log'
import { KernelChannel, type OpenReader } from '../channel.ts'
import type { Filesystem } from '../filesystem.ts'
import { mountKernel } from '../mount.ts'
import { probePipeHandle } from '../pipe-handle.ts'
import { openPoolReader } from '../pool-reader.ts'
import { RequestCounts } from '../request-counts.ts'
import { type SessionOptions, serve, sessionDefaults } from '../session.ts'

const run = promisify(execFile)

export interface Mounted extends AsyncDisposable {
  readonly mountpoint: string
  readonly counts: RequestCounts
  /** Resolves when the mount is gone and everything is drained. */
  readonly served: Promise<void>
  /** A shell in a child process that goes to the mountpoint: this process never touches its own mount.
   *  @throws with what it wrote to stderr when its exit code is not 0 */
  sh(script: string, ...args: readonly string[]): Promise<string>
  python(script: string, ...args: readonly string[]): Promise<string>
}

export interface MountedOptions extends Partial<SessionOptions> {
  readonly openReader?: OpenReader
  readonly pollUs?: number
}

/** Serves a filesystem of a test on a mountpoint of its own, taken away by disposing it whatever happened. */
export async function mounted(filesystem: Filesystem, options: MountedOptions = {}): Promise<Mounted> {
  const { openReader = probePipeHandle() ?? openPoolReader, pollUs = 100, ...session } = options
  const log = session.log ?? silentLog
  const mountpoint = await mkdtemp(join(tmpdir(), 'qsfs-mount-'))
  const mount = await mountKernel({ mountpoint, fsname: 'test', allowOther: true, log })
  const channel = new KernelChannel(mount.fd, openReader, new Wakefulness(systemClock, { pollUs }))
  const counts = new RequestCounts()
  const served = serve(filesystem, channel, { ...sessionDefaults, counts, ...session, log })
  // Read by whoever awaits it, disposal at the latest.
  served.catch(() => undefined)
  const child = async (command: string, args: readonly string[]) => {
    // A child that hangs in the mount must not outlive the test.
    const limits = { timeout: 30_000, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 } as const
    // Not by the option `cwd`: libuv waits, with our event loop, until the child has changed its directory and executed.
    const { stdout } = await run('sh', ['-c', 'cd "$0"; exec "$@"', mountpoint, command, ...args], limits)
    return stdout
  }
  return {
    mountpoint,
    counts,
    served,
    sh: (script, ...args) => child('sh', ['-euc', script, 'sh', ...args]),
    python: (script, ...args) => child('python3', ['-c', script, ...args]),
    async [Symbol.asyncDispose]() {
      const ended = await mount.unmount()
      // Still busy: a child was killed in the middle. Closing the descriptor ends the mount for everyone.
      if (ended === 'busy') channel[Symbol.dispose]()
      await served
      await rmdir(mountpoint)
    },
  }
}
