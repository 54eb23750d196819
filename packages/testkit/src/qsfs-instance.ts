import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type SpawnedProcess, spawnProcess } from './spawn.ts'

const launcher = new URL('../../qsfs/bin/qsfs', import.meta.url).pathname
const run = promisify(execFile)

/** A whole qsfs (`qsfs up`: six local backends, cachedb, stor, fs) of a test or a benchmark, below one directory. */
export interface QsfsInstance extends AsyncDisposable {
  readonly mount: string
  readonly state: string
  readonly supervisor: SpawnedProcess
  status(): Promise<InstanceStatus>
  /** Asks `status` until `done` says so. @throws after `withinMs`, with the last status. */
  waitFor(what: string, done: (status: InstanceStatus) => boolean, withinMs?: number): Promise<InstanceStatus>
}

/** The part of `qsfs status --json` that tests and benchmarks read. */
export interface InstanceStatus {
  readonly processes: readonly { readonly name: string; readonly pid: number; readonly restarts: number }[]
  readonly allClosedStored: boolean
  readonly namespaces: readonly {
    readonly name: string
    readonly segments: readonly {
      readonly id: number
      readonly state: string
      readonly local: boolean
      readonly dataBytes: number
      readonly note: string
    }[]
  }[]
  readonly cachedb: {
    readonly address: string
    readonly dataDirectory: string
    readonly localDataBytes: number
    readonly cacheBytesMax: number
  }
}

/** Starts qsfs below `directory` (its `state` and `mnt`) and waits until it is ready. Disposal stops it, by SIGKILL if it must be,
 *  and takes the mount away. */
export async function startQsfs(directory: string, config: string): Promise<QsfsInstance> {
  const state = join(directory, 'state')
  const mount = join(directory, 'mnt')
  const configPath = join(directory, 'qsfs.toml')
  await mkdir(mount, { recursive: true })
  await writeFile(configPath, config)
  const args = ['up', '--state', state, '--mount', mount, '--config', configPath]
  const supervisor = spawnProcess(launcher, args, { stopWithinMs: 60_000 })
  const dispose = async () => {
    try {
      await supervisor.stop()
    } finally {
      // Only still mounted when the supervisor had to be killed.
      await run('umount', ['-l', mount]).catch(() => undefined)
    }
  }
  try {
    await supervisor.waitForLine(/^ready: /)
  } catch (error) {
    await dispose()
    throw error
  }
  const status = async (): Promise<InstanceStatus> =>
    JSON.parse((await run(launcher, ['status', '--state', state, '--json'], { maxBuffer: 64 << 20 })).stdout)
  return {
    mount,
    state,
    supervisor,
    status,
    async waitFor(what, done, withinMs = 120_000) {
      const giveUp = AbortSignal.timeout(withinMs)
      for (;;) {
        const now = await status()
        if (done(now)) return now
        if (giveUp.aborted)
          throw new Error(`${what}: not within ${withinMs} ms; status is ${JSON.stringify(now, null, 1)}`)
        await new Promise(resolve => setTimeout(resolve, 300))
      }
    },
    [Symbol.asyncDispose]: dispose,
  }
}
