import { closeSync, ftruncateSync, openSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { isMounted, type KernelMount, mountKernel } from '@qsfs/fuse/mount'
import type { Log } from '@qsfs/telemetry/log'

export interface HeldMountOptions {
  readonly mountpoint: string
  readonly allowOther: boolean
  /** Where the two files of the journal are made; they have no name there. */
  readonly directory: string
  readonly log: Log
}

/** The mount, in the hands of a process that serves nothing and so has little to die of: each fs that is started gets its
 *  descriptor, and goes on where the one before it ended. */
export class HeldMount implements Disposable {
  readonly #options: HeldMountOptions
  #journalFds: readonly number[]
  #mount: KernelMount | null = null

  constructor(options: HeldMountOptions) {
    this.#options = options
    this.#journalFds = [0, 1].map(index => {
      const path = join(options.directory, `fs-journal-${index}`)
      const fd = openSync(path, 'w+', 0o600)
      unlinkSync(path)
      return fd
    })
  }

  /** What fs is to inherit, as its descriptors from 3 on: /dev/fuse and the journal. Mounted now if it is not.
   *  @param isOver the fs before ended because its mount had
   *  @throws MountError */
  async descriptors({ isOver }: { readonly isOver: boolean }): Promise<readonly number[]> {
    const { mountpoint, allowOther, log } = this.#options
    if (this.#mount !== null && (isOver || !(await isMounted(mountpoint)))) this.#release()
    this.#mount ??= await mountKernel({ mountpoint, fsname: 'qsfs', allowOther, log })
    return [this.#mount.fd, ...this.#journalFds]
  }

  /** Whoever still works there gets errors from now on, not silence. */
  [Symbol.dispose](): void {
    this.#release()
    for (const fd of this.#journalFds) closeSync(fd)
    this.#journalFds = []
  }

  #release(): void {
    if (this.#mount === null) return
    closeSync(this.#mount.fd)
    this.#mount = null
    for (const fd of this.#journalFds) ftruncateSync(fd, 0)
  }
}
