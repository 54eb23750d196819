import { readFileSync } from 'node:fs'

/** The process that a thread belongs to: the kernel names the thread in a request. One of another pid namespace, or that is
 *  gone, stands for itself. */
export function processOfThread(threadId: number): number {
  try {
    return Number(/^Tgid:\t(\d+)$/m.exec(readFileSync(`/proc/${threadId}/status`, 'latin1'))?.[1] ?? threadId)
  } catch {
    return threadId
  }
}
