import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { systemClock } from '@qsfs/concurrency/clock'
import { KernelChannel } from '@qsfs/fuse/channel'
import type { Filesystem } from '@qsfs/fuse/filesystem'
import { mountKernel } from '@qsfs/fuse/mount'
import { probePipeHandle } from '@qsfs/fuse/pipe-handle'
import { openPoolReader } from '@qsfs/fuse/pool-reader'
import type { RequestCounts } from '@qsfs/fuse/request-counts'
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
}

/** Mounts `filesystem` at the configured place and serves it.
 *  @throws MountError */
export async function serveTransport(
  filesystem: Filesystem,
  { mountpoint, pollUs, isOpenToOthers }: FsConfig,
  counts: RequestCounts,
  log: Log,
): Promise<Transport> {
  const mount = await mountKernel({ mountpoint, fsname: 'qsfs', allowOther: isOpenToOthers, log })
  const channel = new KernelChannel(mount.fd, probePipeHandle() ?? openPoolReader, systemClock, { pollUs })
  const ended = serve(filesystem, channel, { ...sessionDefaults, counts, log })
  return {
    usable: answering(mountpoint),
    ended,
    async [Symbol.asyncDispose]() {
      if ((await mount.unmount()) === 'busy') {
        log.warn('mount.busy', { mountpoint })
        // Dirty pages of who still works there would otherwise be lost without a word: their last writes fail instead.
        channel[Symbol.dispose]()
      }
      await ended
    },
  }
}

/** In a child: a daemon never touches its own mount. */
async function answering(mountpoint: string): Promise<void> {
  await run('stat', ['--', mountpoint])
}
