import { execFile } from 'node:child_process'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { runFsck, spawnDaemon } from './daemons.ts'

const run = promisify(execFile)
/** A cachedb and an fs, two processes, and their mount. */
export class Stack implements AsyncDisposable {
  readonly mountpoint: string
  readonly #config: string
  readonly #controlSocket: string
  #cachedbAddress = ''
  #cachedb: SpawnedProcess | null = null
  #fs: SpawnedProcess | null = null

  private constructor(directory: string) {
    this.mountpoint = join(directory, 'mnt')
    this.#config = join(directory, 'qsfs.toml')
    this.#controlSocket = join(directory, 'fs.sock')
  }

  static async start(directory: string, fsKeys = '', { withFs = true } = {}): Promise<Stack> {
    const stack = new Stack(directory)
    await mkdir(stack.mountpoint)
    const socket = join(directory, 'cachedb.sock')
    stack.#cachedbAddress = `unix:${socket}`
    await writeFile(
      stack.#config,
      `[cachedb]\ndata_dir = "${join(directory, 'data')}"\nsocket = "${socket}"\n[fs]\ncachedb = "unix:${socket}"\n` +
        `mount = "${stack.mountpoint}"\ncontrol_socket = "${stack.#controlSocket}"\n${fsKeys}\n`,
    )
    try {
      await stack.startCachedb()
      if (withFs) await stack.startFs()
    } catch (error) {
      await stack[Symbol.asyncDispose]()
      throw error
    }
    return stack
  }

  async startCachedb(): Promise<void> {
    this.#cachedb = spawnDaemon('cachedb', this.#config)
    await this.#cachedb.waitForLine(/server\.ready/)
  }
  async startFs(): Promise<void> {
    this.#fs = spawnDaemon('fs', this.#config)
    await this.#fs.waitForLine(/mount\.ready/)
    await access(this.#controlSocket)
  }
  /** Another fs on the same configuration, for as long as it lives. */
  secondFs(): SpawnedProcess {
    return spawnDaemon('fs', this.#config)
  }
  get fs(): SpawnedProcess {
    return this.#fs!
  }
  get cachedb(): SpawnedProcess {
    return this.#cachedb!
  }

  get cachedbAddress(): string {
    return this.#cachedbAddress
  }

  /** `fs fsck` on the same configuration. */
  fsck(...flags: readonly string[]): ReturnType<typeof runFsck> {
    return runFsck(this.#config, ...flags)
  }

  /** A program that goes on beside the test, in the mountpoint. */
  runPython(program: string): SpawnedProcess {
    return spawnProcess('sh', ['-c', 'cd "$1" && exec python3 -c "$2"', 'sh', this.mountpoint, program])
  }

  /** Stands in the mountpoint; the test itself never touches it. */
  async python(script: string, ...args: readonly string[]): Promise<string> {
    const limits = { timeout: 60_000, killSignal: 'SIGKILL', maxBuffer: 1 << 24 } as const
    const { stdout } = await run('python3', [script, ...args], { cwd: this.mountpoint, ...limits })
    return stdout
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fs?.[Symbol.asyncDispose]()
    await this.#cachedb?.[Symbol.asyncDispose]()
    // After a kill -9 the mount is still there, dead, and perhaps another one below it.
    for (let isMounted = true; isMounted; ) {
      isMounted = await run('umount', ['-l', this.mountpoint]).then(
        () => true,
        () => false,
      )
    }
  }
}
