import { execFile } from 'node:child_process'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../../..')

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

  static async start(directory: string, fsKeys = ''): Promise<Stack> {
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
      await stack.startFs()
    } catch (error) {
      await stack[Symbol.asyncDispose]()
      throw error
    }
    return stack
  }

  async startCachedb(): Promise<void> {
    this.#cachedb = this.#spawn('cachedb')
    await this.#cachedb.waitForLine(/server\.ready/)
  }
  async startFs(): Promise<void> {
    this.#fs = this.#spawn('fs')
    await this.#fs.waitForLine(/mount\.ready/)
    await access(this.#controlSocket)
  }
  /** Another fs on the same configuration, for as long as it lives. */
  secondFs(): SpawnedProcess {
    return this.#spawn('fs')
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
  async fsck(...flags: readonly string[]): Promise<{ exitCode: number | string; stdout: string; stderr: string }> {
    const program = join(root, 'apps/fs/src/cli.ts')
    await using checking = spawnProcess(process.execPath, [program, 'fsck', '--config', this.#config, ...flags])
    const exitCode = await checking.exited
    return { exitCode, stdout: checking.stdout, stderr: checking.stderr }
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

  #spawn(app: 'cachedb' | 'fs'): SpawnedProcess {
    const program = join(root, 'apps', app, 'src/main.ts')
    return spawnProcess(process.execPath, [program, '--config', this.#config], { stopWithinMs: 20_000 })
  }
}
