import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { type Clock, delay } from '@qsfs/concurrency/clock'
import { ExpectedFailure } from '@qsfs/daemon/failure'

/** What `qsfs up` writes down about itself, for `qsfs status` and for the next start. */
export interface RunningInstance {
  /** `fsck`: the servers only, for as long as a check takes. */
  readonly command: 'up' | 'fsck'
  /** It was told to end. */
  readonly isStopping: boolean
  readonly state: string
  readonly mount: string
  readonly transport: string
  readonly supervisorPid: number
  /** As of a running process: after a restart of the machine somebody else may have its pid. */
  readonly supervisorStartTicks: number | null
  readonly cachedb: RunningCachedb
  readonly storSocket: string
  readonly fsSocket: string
  readonly masterKeyPath: string | null
  readonly processes: readonly RunningProcess[]
}

export interface RunningCachedb {
  readonly address: string
  readonly adminPasswordFile?: string | undefined
  readonly dataDirectory: string
  readonly cacheBytesMax: number
}

export interface RunningProcess {
  readonly name: string
  readonly pid: number
  readonly restarts: number
  /** When the kernel started it, in its own ticks: with the pid this names one process for ever. */
  readonly startTicks: number | null
}

/** Replaces the file in one step. It is a note, not data: it needs no sync. */
export function writeInstance(path: string, instance: RunningInstance): void {
  writeFileSync(`${path}.part`, `${JSON.stringify(instance, null, 2)}\n`, { mode: 0o600 })
  renameSync(`${path}.part`, path)
}

/** @returns null when nothing was started here, or it was stopped */
export function readInstance(path: string): RunningInstance | null {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  return JSON.parse(text) as RunningInstance
}

export function removeInstance(path: string): void {
  rmSync(path, { force: true })
}

/** When the kernel started a process; null when it is gone (a zombie counts as gone). */
export function startTicksOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // proc(5): the name in parentheses may hold anything; state is the first field after it, starttime the twentieth.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : Number(fields[19])
  } catch {
    return null
  }
}

export function isRunning({ pid, startTicks }: Pick<RunningProcess, 'pid' | 'startTicks'>): boolean {
  const ticks = startTicksOf(pid)
  return ticks !== null && ticks === startTicks
}

/** Daemons of a killed supervisor leave by themselves; this waits for them.
 *  @throws ExpectedFailure naming those that stay */
export async function waitUntilGone(
  processes: readonly RunningProcess[],
  clock: Clock,
  { withinMs, signal }: { readonly withinMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const deadlineMs = clock.monotonicMs() + withinMs
  for (;;) {
    const staying = processes.filter(isRunning)
    if (staying.length === 0) return
    if (clock.monotonicMs() > deadlineMs) {
      const names = staying.map(({ name, pid }) => `${name} (pid ${pid})`).join(', ')
      throw new ExpectedFailure(1, `of an earlier start ${names} still run; end them, then start again`)
    }
    await delay(clock, 100, { signal })
  }
}
