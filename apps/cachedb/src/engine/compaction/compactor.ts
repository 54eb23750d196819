import type { Clock } from '@qsfs/concurrency/clock'
import { NamespaceReadOnly } from '../../errors.ts'
import { FormatError } from '../../segment/format.ts'
import { StorageError } from '../../segment/storage.ts'
import type { Segment } from '../shelf/segment.ts'
import type { Shelf } from '../shelf/shelf.ts'
import type { Writer } from '../writer/writer.ts'
import { chooseSegment, waitingSources } from './choosing.ts'
import { type CopyOutcome, copyNeeded } from './copying.ts'
import { Pace } from './pace.ts'

/** A loss of a value leads to a look this much later: losses come in crowds. */
const lookAfterMs = 1_000
/** Room comes and goes. */
const noRoomAgainMs = 2_000
/** What a disk refused, or the store sent damaged, can wait longer. */
const failedAgainMs = 10 * 60_000
/** When so many segments wait for copies in the open one, it is closed, so that the store gets them. */
const hurrySegments = 2

export interface CompactorOptions {
  /** Share of needed bytes under which a segment is rewritten; 0: never. */
  readonly below: number
  /** Reads and writes together; 0: no limit. */
  readonly bytesPerSecond: number
  /** Names of namespaces that are left as they were written. */
  readonly excluded: ReadonlySet<string>
}

/** Rewrites sparse segments of all namespaces in the background, one at a time: what is needed of one is appended to the open segment
 *  as copies, and then it is dead. */
export class Compactor {
  readonly #clock: Clock
  readonly #options: CompactorOptions
  readonly #pace: Pace
  readonly #writers = new Set<Writer>()
  #isLookDue = false
  /** When it looks again by itself. */
  #laterMs = Number.POSITIVE_INFINITY
  #isRunning = false
  #underWay: Segment | null = null

  constructor(clock: Clock, options: CompactorOptions) {
    this.#clock = clock
    this.#options = options
    this.#pace = new Pace(clock, options.bytesPerSecond)
  }

  /** Whether nothing of a namespace leaves, not even what is dead. */
  keepsAll(name: string): boolean {
    return this.#options.excluded.has(name)
  }

  add(name: string, writer: Writer): void {
    if (this.#options.below === 0 || this.keepsAll(name)) return
    this.#writers.add(writer)
    this.press()
  }

  /** Not one entry more is copied. */
  remove(writer: Writer): void {
    this.#writers.delete(writer)
  }

  /** The segment that is being copied now. */
  get underWay(): { readonly dataPath: string } | null {
    return this.#underWay
  }

  /** There may be something to compact. Called for each lost value. */
  press(): void {
    if (this.#isLookDue || this.#writers.size === 0) return
    this.#isLookDue = true
    this.#clock.schedule(lookAfterMs, () => {
      this.#isLookDue = false
      if (!this.#isRunning) void this.#run()
    })
  }

  #pressAt(atMs: number): void {
    if (atMs >= this.#laterMs) return
    this.#laterMs = atMs
    this.#clock.schedule(atMs - this.#clock.monotonicMs(), () => {
      this.#laterMs = Number.POSITIVE_INFINITY
      this.press()
    })
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    for (let next = this.#choose(); next !== null; next = this.#choose()) await this.#compact(...next)
    for (const writer of this.#writers) hurry(writer)
    this.#isRunning = false
  }

  #choose(): readonly [Writer, Segment] | null {
    for (const writer of this.#writers) {
      if (!this.#mayCopy(writer)) continue
      const segment = chooseSegment(writer.shelf, this.#options.below)
      if (segment !== null) return [writer, segment]
    }
    return null
  }

  #mayCopy(writer: Writer): boolean {
    const { compactionHeldUntilMs } = writer.shelf
    const isHeld = compactionHeldUntilMs > this.#clock.monotonicMs()
    if (isHeld) this.#pressAt(compactionHeldUntilMs)
    return !isHeld && this.#writers.has(writer) && writer.readOnlyReason === null
  }

  async #compact(writer: Writer, segment: Segment): Promise<void> {
    const { shelf } = writer
    const before = shelf.compaction.copiedBytes
    segment.activity = 'compacting'
    this.#underWay = segment
    const outcome = await this.#copy(writer, segment)
    // The next one is another namespace's, if it has any.
    if (this.#writers.delete(writer)) this.#writers.add(writer)
    this.#underWay = null
    segment.activity = null
    // Flushed, dropped or closed meanwhile.
    if (shelf.find(segment.id) !== segment) return
    // It stays for long, and what was copied out of it too: room that is lent for it nobody else could have.
    if (outcome === 'damaged' || outcome === 'failed') shelf.context.room.repay(segment)
    if (outcome === 'copied') finished(shelf, segment, shelf.compaction.copiedBytes - before)
    else if (outcome === 'damaged') await this.#damaged(shelf, segment)
    else if (outcome === 'noRoom') this.#putOff(segment, noRoomAgainMs)
    else if (outcome === 'failed') this.#putOff(segment, failedAgainMs)
    shelf.settled(segment)
  }

  /** @returns what became of it; an error was logged */
  async #copy(writer: Writer, segment: Segment): Promise<CopyOutcome | 'failed'> {
    const { shelf } = writer
    const { log, hooks } = shelf.context
    const isWanted = () => shelf.find(segment.id) === segment && !segment.isDamaged && this.#mayCopy(writer)
    // One that the store holds, of a pinned namespace, stays until the store has its copies too.
    const leavesSoon = segment.objectId === null || !hooks.configured || !shelf.pinned
    try {
      const outcome = await copyNeeded({ writer, segment, isWanted, leavesSoon, pace: this.#pace })
      return outcome === 'stopped' && segment.isDamaged ? 'damaged' : outcome
    } catch (error) {
      if (shelf.signal.aborted || error instanceof NamespaceReadOnly) return 'stopped'
      if (error instanceof StorageError && error.full) return 'noRoom'
      log.error('segment.not_compacted', { directory: shelf.directory, segmentId: segment.id, error })
      if (error instanceof StorageError || error instanceof FormatError) return 'failed'
      throw error
    }
  }

  /** What is damaged is not given up for the rest: the store's copy is fetched, and of an only copy everything stays as it is. */
  async #damaged(shelf: Shelf, segment: Segment): Promise<void> {
    const { directory, compaction, context } = shelf
    const { id: segmentId, state } = segment
    compaction.damagedSegments++
    context.log.error('segment.damage_found', { directory, segmentId, state })
    if (state !== 'stored') {
      segment.compactAfterMs = Number.POSITIVE_INFINITY
      segment.note = 'not compacted: an entry fails its check'
      return
    }
    this.#putOff(segment, failedAgainMs)
    try {
      await shelf.giveUpFile(segment, 'damaged')
    } catch (error) {
      if (shelf.signal.aborted) return
      if (!(error instanceof StorageError)) throw error
      return context.log.error('segment.not_given_up', { directory, segmentId, error })
    }
    if (shelf.find(segmentId) === segment) shelf.inBackground(shelf.restore(segment))
  }

  #putOff(segment: Segment, pauseMs: number): void {
    segment.compactAfterMs = this.#clock.monotonicMs() + pauseMs
    this.#pressAt(segment.compactAfterMs)
  }
}

/** Nothing of it is needed any more: it is dead, or waits for the store to have the copies. */
function finished(shelf: Shelf, segment: Segment, copiedBytes: number): void {
  const { id: segmentId, dataBytes, life } = segment
  life.markCopied()
  shelf.compaction.segments++
  shelf.context.metrics.compactions.add()
  // Nobody reads it any more: the first to be evicted.
  segment.lastReadMs = Number.NEGATIVE_INFINITY
  // Who finds no room waits for something.
  shelf.context.room.noteProgress()
  shelf.context.log.event('segment.compacted', { directory: shelf.directory, segmentId, dataBytes, copiedBytes })
}

/** Segments that the store holds wait for it to have their copies, and those wait in the open segment for its end. */
function hurry(writer: Writer): void {
  const { shelf, active } = writer
  const waiting = waitingSources(shelf).filter(({ life }) => life.wasCopiedTo(active.segmentId))
  const waitingBytes = waiting.reduce((sum, { dataBytes }) => sum + dataBytes, 0)
  if (waitingBytes < hurrySegments * shelf.context.limits.segmentBytesMax) return
  try {
    writer.rotate()
  } catch (error) {
    if (!(error instanceof StorageError || error instanceof NamespaceReadOnly)) throw error
    // It will be closed when it is full, if nothing else is possible.
    shelf.context.log.warn('segment.not_rotated', { directory: shelf.directory, error })
  }
}
