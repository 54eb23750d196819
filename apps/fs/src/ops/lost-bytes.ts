import { FuseError } from '@qsfs/fuse/errno'
import type { NodeId } from '@qsfs/fuse/filesystem'
import { processOfThread } from '@qsfs/fuse/resume/process-of-thread'

/** Files that lost bytes when an earlier process of this mount was killed: written, and never synced. Every process that syncs
 *  such a file is told once. (The kernel does not say through which of its open files; it opens them without asking.) */
export class LostBytes {
  /** Those who know, by process id. */
  readonly #told = new Map<NodeId, Set<number>>()

  /** Those of which nobody knows yet. */
  get untold(): readonly NodeId[] {
    return [...this.#told].filter(([, processIds]) => processIds.size === 0).map(([nodeId]) => nodeId)
  }

  add(nodeIds: Iterable<NodeId>): void {
    for (const nodeId of nodeIds) this.#told.set(nodeId, this.#told.get(nodeId) ?? new Set())
  }

  has(nodeId: NodeId): boolean {
    return this.#told.has(nodeId)
  }

  /** The kernel let go of the file: nobody has it open. */
  forget(nodeId: NodeId): void {
    this.#told.delete(nodeId)
  }

  /** @param threadId who syncs; a process may do so from any of its threads
   *  @throws FuseError EIO the first time */
  tell(nodeId: NodeId, threadId: number): void {
    const told = this.#told.get(nodeId)
    if (told === undefined) return
    const processId = processOfThread(threadId)
    if (told.has(processId)) return
    told.add(processId)
    throw new FuseError('EIO', 'bytes that were not synced were lost when the filesystem process died')
  }
}
