import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { systemClock } from '@qsfs/concurrency/clock'
import type { Wakefulness } from '@qsfs/concurrency/wakefulness'
import { KernelChannel } from '@qsfs/fuse/channel'
import type { Filesystem } from '@qsfs/fuse/filesystem'
import { adoptMount, mountKernel } from '@qsfs/fuse/mount'
import { probePipeHandle } from '@qsfs/fuse/pipe-handle'
import { openPoolReader } from '@qsfs/fuse/pool-reader'
import type { RequestCounts } from '@qsfs/fuse/request-counts'
import type { RequestJournal } from '@qsfs/fuse/resume/request-journal'
import { serve, sessionDefaults } from '@qsfs/fuse/session'
import type { Log } from '@qsfs/telemetry/log'
import type { FsConfig } from './config.ts'

const run = promisify(execFile)

/** A mount that is being served. Disposing it takes the mount away and waits until nothing is in flight. */
export interface Transport extends AsyncDisposable {
  /** Settles when the mount answers. */
  readonly usable: Promise<void>
  /** Settles when the mount is gone, whoever took it away; rejects when serving failed. */
  readonly ended: Promise<void>
  /** Leaves a mount that is held to the next process: settles when what came so far is answered. */
  leave(): Promise<void>
}

export interface Serving {
  readonly counts: RequestCounts
  readonly wakefulness: Wakefulness
  /** A mount that is there already and outlives this process; null: it is made. */
  readonly held: HeldMount | null
}

export interface HeldMount {
  readonly fd: number
  readonly journal: RequestJournal
  /** Another process served it before. */
  readonly isResumed: boolean
}

/** Mounts `filesystem` at the configured place and serves it.
 *  @throws MountError */
export function serveTransport(
  filesystem: Filesystem,
  config: FsConfig,
  serving: Serving,
  log: Log,
): Promise<Transport> {
  return config.transport === 'kernel'
    ? serveKernel(filesystem, config, serving, log)
    : serveNative(filesystem, config, log)
}

async function serveKernel(
  filesystem: Filesystem,
  { mountpoint, isOpenToOthers }: FsConfig,
  { counts, wakefulness, held }: Serving,
  log: Log,
): Promise<Transport> {
  const mount =
    held === null
      ? await mountKernel({ mountpoint, fsname: 'qsfs', allowOther: isOpenToOthers, log })
      : adoptMount(held.fd, mountpoint)
  const reader = probePipeHandle() ?? openPoolReader
  const channel = new KernelChannel(mount.fd, reader, wakefulness)
  const leaving = new AbortController()
  const succession = held !== null && { journal: held.journal, leaving: leaving.signal, clock: systemClock }
  const options = {
    ...sessionDefaults,
    counts,
    clock: systemClock,
    log,
    resumed: held?.isResumed ?? false,
    ...(succession && { succession }),
  }
  const ended = serve(filesystem, channel, options)
  let isLeft = false
  ended.catch(() => {
    // The next process may do better.
    isLeft = held !== null
  })
  return {
    usable: answering(mountpoint),
    ended,
    leave() {
      isLeft = true
      leaving.abort()
      return ended
    },
    async [Symbol.asyncDispose]() {
      if (isLeft) {
        channel[Symbol.dispose]()
        return
      }
      if ((await mount.unmount()) === 'busy') {
        log.warn('mount.busy', { mountpoint })
        // Whoever still works there gets errors from now on, not silence.
        channel[Symbol.dispose]()
      }
      await ended
    },
  }
}

/** Loaded only when chosen: the package has native code and may not be installed. */
async function serveNative(
  filesystem: Filesystem,
  { mountpoint, isOpenToOthers }: FsConfig,
  log: Log,
): Promise<Transport> {
  const { serveFuseNative } = await import('@qsfs/fuse/fuse-native')
  const mount = await serveFuseNative(filesystem, { mountpoint, fsname: 'qsfs', allowOther: isOpenToOthers, log })
  return {
    usable: answering(mountpoint),
    // libfuse does not tell; whoever takes the mount away from outside has to stop the daemon too.
    ended: new Promise(() => undefined),
    leave: () => Promise.reject(new Error('libfuse holds the mount itself')),
    async [Symbol.asyncDispose]() {
      await mount.unmount()
    },
  }
}

/** In a child: a daemon never touches its own mount. */
async function answering(mountpoint: string): Promise<void> {
  await run('stat', ['--', mountpoint])
}
