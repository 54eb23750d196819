import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { SpawnedProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { middle } from '../middle.ts'
import { peakMiB } from '../peak-memory.ts'
import { atMost, atMostRatio, type Row, row } from '../row.ts'
import { startProgram } from '../start-program.ts'
import { fill } from './fill.ts'

const run = promisify(execFile)
const fileCount = 1_000_000
const startsEach = 3

/** One directory of a million files, over a cachedb and an fs without dispersal. */
export async function millionRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using stack = await MillionStack.start(tmp.path)
  await fill(stack.address, 'million', fileCount)
  const cleanStartsMs: number[] = []
  for (let start = 0; start < startsEach; start++) {
    cleanStartsMs.push(await stack.startFs())
    if (start < startsEach - 1) await stack.stopFs()
  }
  await stack.python(touchAll)
  const peak = stack.fsPeakMiB()
  const { million, empty } = JSON.parse(await stack.python(createInTurns)) as { million: number; empty: number }
  const crashStartsMs: number[] = []
  for (let start = 0; start < startsEach; start++) {
    await stack.python(createSome, `${start}`)
    await stack.killFs()
    crashStartsMs.push(await stack.startFs())
  }
  await stack.killFs()
  const bothMs = (await stack.restartCachedb()) + (await stack.startFs())
  const name = `${fileCount} files`
  return [
    row(`${name}: fs starts until its mount answers, after a clean end`, middle(cleanStartsMs), 'ms', {
      target: atMost(2000),
    }),
    row(`${name}: the same after kill -9 behind 5,000 creates`, middle(crashStartsMs), 'ms', { target: atMost(2000) }),
    row(`${name}: cachedb and fs, one after the other, after kill -9 of both`, bothMs, 'ms'),
    row(`${name}: peak RSS of fs after listing and touching each`, peak, 'MiB', { target: atMost(512) }),
    row(`a create in a directory of ${fileCount} names`, million, 'us', {
      against: { name: 'in a small one', value: empty },
      target: atMostRatio(1.5),
    }),
  ]
}

/** The kernel then holds every one of them. */
const touchAll = `
import os
with os.scandir('million') as names:
    for entry in names:
        entry.stat(follow_symlinks=False)
        os.utime(entry.path)`

/** Microseconds per create of an empty file: eleven turns of 500 each, the middle ratio. The small directories start empty. */
const createInTurns = `
import json, os, time
def create(directory, turn):
    started = time.perf_counter()
    for i in range(500): os.close(os.open('%s/new %d %d' % (directory, turn, i), os.O_CREAT | os.O_WRONLY, 0o644))
    return (time.perf_counter() - started) / 500 * 1e6
turns = []
for turn in range(11):
    os.mkdir('small %d' % turn)
    turns.append((create('million', turn), create('small %d' % turn, turn)))
million, empty = sorted(turns, key=lambda pair: pair[0] / pair[1])[5]
print(json.dumps({'million': million, 'empty': empty}))`

const createSome = `
import os, sys
for i in range(5000): os.close(os.open('million/later %s %d' % (sys.argv[1], i), os.O_CREAT | os.O_WRONLY, 0o644))`

/** A cachedb and, now and then, an fs over it. */
class MillionStack implements AsyncDisposable {
  readonly address: string
  readonly #directory: string
  readonly #mountpoint: string
  #cachedb: SpawnedProcess | null = null
  #fs: SpawnedProcess | null = null

  private constructor(directory: string) {
    this.#directory = directory
    this.#mountpoint = join(directory, 'mnt')
    this.address = `unix:${join(directory, 'cachedb.sock')}`
  }

  static async start(directory: string): Promise<MillionStack> {
    const stack = new MillionStack(directory)
    await mkdir(stack.#mountpoint)
    await writeFile(
      stack.#configPath,
      `[cachedb]\ndata_dir = "${join(directory, 'data')}"\nsocket = "${join(directory, 'cachedb.sock')}"\n` +
        `[fs]\ncachedb = "${stack.address}"\nmount = "${stack.#mountpoint}"\n`,
    )
    await stack.restartCachedb()
    return stack
  }

  /** Kills the one that runs. @returns milliseconds until the new one serves */
  async restartCachedb(): Promise<number> {
    await this.#cachedb?.kill9()
    const startedMs = performance.now()
    this.#cachedb = this.#spawn('cachedb')
    await this.#cachedb.waitForLine(/server\.ready/)
    return performance.now() - startedMs
  }

  /** @returns milliseconds until the mount answered */
  async startFs(): Promise<number> {
    const startedMs = performance.now()
    this.#fs = this.#spawn('fs')
    await this.#fs.waitForLine(/mount\.ready/)
    return performance.now() - startedMs
  }

  async stopFs(): Promise<void> {
    const code = await this.#fs?.stop()
    this.#fs = null
    if (code !== 0) throw new Error(`fs ended with ${code}`)
  }

  async killFs(): Promise<void> {
    await this.#fs?.kill9()
    this.#fs = null
    await run('umount', ['-l', this.#mountpoint])
  }

  fsPeakMiB(): number {
    return peakMiB(this.#fs!.pid)
  }

  /** Stands in the mountpoint; this process itself never touches it. */
  async python(script: string, ...args: readonly string[]): Promise<string> {
    const { stdout } = await run('sh', ['-c', 'cd "$0" && exec python3 -c "$@"', this.#mountpoint, script, ...args])
    return stdout
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fs?.[Symbol.asyncDispose]()
    await this.#cachedb?.[Symbol.asyncDispose]()
    // Only still mounted when fs was killed.
    await run('umount', ['-l', this.#mountpoint]).catch(() => undefined)
  }

  get #configPath(): string {
    return join(this.#directory, 'qsfs.toml')
  }

  #spawn(app: 'cachedb' | 'fs'): SpawnedProcess {
    return startProgram(app, this.#configPath, { stopWithinMs: 60_000 })
  }
}
