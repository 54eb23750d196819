import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type KernelMount, mountKernel } from '@qsfs/fuse/mount'
import { silentLog } from '@qsfs/telemetry/log'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { runFsck, spawnDaemon } from './daemons.ts'

/** A cachedb, and an fs on a mount that outlives it: held here, as `qsfs up` holds it. This process never touches the mount. */
export class HeldStack implements AsyncDisposable {
  readonly mountpoint: string
  readonly #config: string
  #mount: KernelMount
  readonly #journalFds: readonly number[]
  readonly #programs: SpawnedProcess[] = []
  #cachedb: SpawnedProcess | null = null
  #fs: SpawnedProcess | null = null

  private constructor(mount: KernelMount, config: string, journalFds: readonly number[]) {
    this.mountpoint = mount.mountpoint
    this.#mount = mount
    this.#config = config
    this.#journalFds = journalFds
  }

  static async start(directory: string, fsKeys = '', cachedbKeys = ''): Promise<HeldStack> {
    const mountpoint = join(directory, 'mnt')
    const config = join(directory, 'qsfs.toml')
    const socket = join(directory, 'cachedb.sock')
    await mkdir(mountpoint)
    await writeFile(
      config,
      `[cachedb]\ndata_dir = "${join(directory, 'data')}"\nsocket = "${socket}"\n${cachedbKeys}\n` +
        `[fs]\ncachedb = "unix:${socket}"\nmount = "${mountpoint}"\n${fsKeys}\n`,
    )
    const journalFds = [0, 1].map(index => {
      const path = join(directory, `journal-${index}`)
      const fd = openSync(path, 'w+')
      unlinkSync(path)
      return fd
    })
    const stack = new HeldStack(await hold(mountpoint), config, journalFds)
    try {
      await stack.startCachedb()
      await stack.startFs()
    } catch (error) {
      await stack[Symbol.asyncDispose]()
      throw error
    }
    return stack
  }

  /** What `qsfs up` does when it finds the mount gone. */
  async mountAnew(): Promise<void> {
    closeSync(this.#mount.fd)
    for (const fd of this.#journalFds) ftruncateSync(fd, 0)
    this.#mount = await hold(this.mountpoint)
  }
  /** Bytes over the beginning of the journal's files. */
  hurtJournal(bytes: Buffer): void {
    for (const fd of this.#journalFds) writeSync(fd, bytes, 0, bytes.length, 0)
  }

  async startCachedb(): Promise<void> {
    this.#cachedb = spawnDaemon('cachedb', this.#config)
    await this.#cachedb.waitForLine(/server\.ready/)
  }
  /** Does not wait until it serves. */
  spawnFs(): void {
    this.#fs = spawnDaemon('fs', this.#config, ['--held-mount', '3,4,5'], [this.#mount.fd, ...this.#journalFds])
  }
  async startFs(): Promise<void> {
    this.spawnFs()
    await this.fs.waitForLine(/mount\.ready/)
  }
  get fs(): SpawnedProcess {
    return this.#fs!
  }
  get cachedb(): SpawnedProcess {
    return this.#cachedb!
  }

  /** `fs fsck` on the same configuration. */
  fsck(): ReturnType<typeof runFsck> {
    return runFsck(this.#config)
  }

  /** A program that works in the mount. Disposing it kills it, and the stack waits for its end: where nobody answers it any more it
   *  only dies with the mount. */
  python(script: string, ...args: readonly string[]): SpawnedProcess {
    const program = spawnProcess('sh', ['-c', 'cd "$0" && exec python3 "$@"', this.mountpoint, script, ...args])
    this.#programs.push(program)
    return Object.assign(program, { [Symbol.asyncDispose]: async () => void program.kill9() })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fs?.[Symbol.asyncDispose]()
    await this.#cachedb?.[Symbol.asyncDispose]()
    // With the last descriptor the connection ends, and nobody hangs in it any more.
    for (const fd of [this.#mount.fd, ...this.#journalFds]) closeSync(fd)
    await Promise.all(this.#programs.map(program => program.kill9()))
    await this.#mount.unmount()
  }
}

function hold(mountpoint: string): Promise<KernelMount> {
  return mountKernel({ mountpoint, fsname: 'test', allowOther: true, log: silentLog })
}
