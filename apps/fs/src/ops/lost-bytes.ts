import type { Clock } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'
import type { NodeId } from '@qsfs/fuse/filesystem'
import { callerOf, type Descriptors } from '@qsfs/fuse/resume/open-files'

interface Loss {
  /** Somebody was told. */
  isKnown: boolean
  /** Open files that were open before that, and have not been told. */
  readonly untold: Descriptors
}

/** Files that lost bytes when an earlier process of this mount was killed: written, and never synced. As after a failed write-back
 *  of Linux, each open file is told once, at its next sync; one that is opened later only if nobody was told before. */
export class LostBytes {
  readonly #clock: Clock
  readonly #losses = new Map<NodeId, Loss>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Files of which not all know yet. */
  get nodeIds(): readonly NodeId[] {
    return [...this.#losses.keys()]
  }

  add(nodeIds: Iterable<NodeId>): void {
    for (const nodeId of nodeIds) this.#losses.set(nodeId, { isKnown: false, untold: new Map() })
  }

  has(nodeId: NodeId): boolean {
    return this.#losses.has(nodeId)
  }

  /** Who has them open; without it only the first who syncs is told. */
  noteOpenFiles(openFiles: ReadonlyMap<NodeId, Descriptors>): void {
    for (const [nodeId, untold] of openFiles) {
      if (this.#losses.has(nodeId)) this.#losses.set(nodeId, { isKnown: false, untold })
    }
  }

  /** The kernel let go of the file: nobody has it open. While nobody was told, whoever opens it next will be.
   *  @param isGone it has no name either */
  forget(nodeId: NodeId, isGone: boolean): void {
    const loss = this.#losses.get(nodeId)
    if (loss === undefined) return
    if (loss.isKnown || isGone) this.#losses.delete(nodeId)
    else loss.untold.clear()
  }

  /** @param threadId who syncs, and still waits
   *  @throws FuseError EIO when that open file is to be told */
  async tell(nodeId: NodeId, threadId: number): Promise<void> {
    if (!this.#losses.has(nodeId)) return
    const { processId, descriptor } = await callerOf(threadId, this.#clock)
    const loss = this.#losses.get(nodeId)
    if (loss === undefined) return
    const isFirst = !loss.isKnown
    loss.isKnown = true
    const isOwed = settle(loss.untold, processId, descriptor)
    if (loss.untold.size === 0) this.#losses.delete(nodeId)
    if (isFirst || isOwed) {
      throw new FuseError('EIO', 'bytes that were not synced were lost when the filesystem process died')
    }
  }
}

/** @param descriptor null: one of the process, and all of its count as told
 *  @returns whether it was among the untold */
function settle(untold: Descriptors, processId: number, descriptor: number | null): boolean {
  const ofProcess = untold.get(processId)
  if (ofProcess === undefined) return false
  const isOwed = descriptor === null || ofProcess.delete(descriptor)
  if (descriptor === null || ofProcess.size === 0) untold.delete(processId)
  return isOwed
}
