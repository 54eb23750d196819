import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { type Clock, delay } from '@qsfs/concurrency/clock'
import type { NodeId } from '../filesystem.ts'

/** Descriptors of processes, by process id. */
export type Descriptors = Map<number, Set<number>>

/** Who asks, and through which descriptor; null: that cannot be told. */
export interface Caller {
  readonly processId: number
  readonly descriptor: number | null
}

/** A caller that was just heard may not have gone to sleep yet: only then /proc says in what call it is. */
const asleepWithinMs = 1000
const lookAgainMs = 5

/** Who has these nodes of a mount open now. The kernel opens files without asking, so /proc is asked: of processes that we may not
 *  look at, nothing is known. No request is made of the mount.
 *  @param device of the mount, as the mount table has it: "0:45" */
export function openFilesOf(device: string, nodeIds: Iterable<NodeId>): ReadonlyMap<NodeId, Descriptors> {
  const found = new Map<NodeId, Descriptors>(Array.from(nodeIds, nodeId => [nodeId, new Map()]))
  for (const pid of ifThere(() => readdirSync('/proc'), []).filter(name => /^\d+$/.test(name))) {
    for (const name of ifThere(() => readdirSync(`/proc/${pid}/fdinfo`), [])) {
      const info = ifThere(() => readFileSync(`/proc/${pid}/fdinfo/${name}`, 'latin1'), '')
      const descriptors = found.get(Number(/^ino:\t(\d+)$/m.exec(info)?.[1]))
      const mountId = /^mnt_id:\t(\d+)$/m.exec(info)?.[1]
      if (descriptors === undefined || deviceOf(pid, mountId) !== device) continue
      const processId = Number(pid)
      descriptors.set(processId, (descriptors.get(processId) ?? new Set()).add(Number(name)))
    }
  }
  return found
}

/** Whose request it is. A process of another pid namespace, or one that is gone, stands for itself.
 *  @param threadId as the kernel names the caller in a request that still waits for its reply */
export async function callerOf(threadId: number, clock: Clock): Promise<Caller> {
  const status = ifThere(() => readFileSync(`/proc/${threadId}/status`, 'latin1'), '')
  const processId = Number(/^Tgid:\t(\d+)$/m.exec(status)?.[1] ?? threadId)
  for (let waitedMs = 0; ; waitedMs += lookAgainMs) {
    // proc(5): "running", or the number of the call and its arguments in hexadecimal.
    const call = ifThere(() => readFileSync(`/proc/${threadId}/syscall`, 'latin1'), '')
    if (call.startsWith('running') && waitedMs < asleepWithinMs) {
      await delay(clock, lookAgainMs)
      continue
    }
    // The first argument of all calls that sync is the descriptor, but of msync(2).
    const descriptor = Number(/^\d+ (0x[0-9a-f]+) /.exec(call)?.[1] ?? Number.NaN)
    const isOpen = ifThere(() => readlinkSync(`/proc/${processId}/fd/${descriptor}`), '') !== ''
    return { processId, descriptor: isOpen ? descriptor : null }
  }
}

/** Of the mount that a descriptor of the process belongs to. */
function deviceOf(pid: string, mountId: string | undefined): string | undefined {
  const table = ifThere(() => readFileSync(`/proc/${pid}/mountinfo`, 'latin1'), '')
  return table
    .split('\n')
    .map(row => row.split(' '))
    .find(([id]) => id === mountId)?.[2]
}

/** Processes end while they are looked at, and some are closed to us. */
function ifThere<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch {
    return otherwise
  }
}
