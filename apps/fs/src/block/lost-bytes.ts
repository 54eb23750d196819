import { readFileSync } from 'node:fs'
import { FuseError } from '@qsfs/fuse/errno'
import type { NodeId } from '@qsfs/fuse/filesystem'

/** Files that lost bytes when an earlier process of this mount was killed: written, and never synced. Every process that syncs
 *  such a file is told once. (The kernel does not say through which of its open files; it opens them without asking.) */
export class LostBytes {
  /** Those who know, by process id. */
  readonly #told = new Map<NodeId, Set<number>>()

  get nodeIds(): readonly NodeId[] {
    return [...this.#told.keys()]
  }

  add(nodeIds: Iterable<NodeId>): void {
    for (const nodeId of nodeIds) this.#told.set(nodeId, this.#told.get(nodeId) ?? new Set())
  }

  /** The kernel let go of the file: nobody has it open. */
  forget(nodeId: NodeId): void {
    this.#told.delete(nodeId)
  }

  /** @param threadId who syncs
   *  @throws FuseError EIO the first time */
  tell(nodeId: NodeId, threadId: number): void {
    const told = this.#told.get(nodeId)
    if (told === undefined) return
    const processId = processOf(threadId)
    if (told.has(processId)) return
    told.add(processId)
    throw new FuseError('EIO', 'bytes that were not synced were lost when the filesystem process died')
  }
}

/** The kernel names the thread. A process syncs from any of its threads, and is to be told once. */
function processOf(threadId: number): number {
  try {
    return Number(/^Tgid:\t(\d+)$/m.exec(readFileSync(`/proc/${threadId}/status`, 'latin1'))?.[1] ?? threadId)
  } catch {
    // Of another pid namespace, or gone: then the thread has to do.
    return threadId
  }
}
