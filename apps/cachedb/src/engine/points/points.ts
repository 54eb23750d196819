import { Backoff } from '@qsfs/concurrency/backoff'
import { delay } from '@qsfs/concurrency/clock'
import { ErrorText, type NamespacePosition } from '@qsfs/protocol/cachedb-commands'
import { HookEvent } from '@qsfs/protocol/hook-events'
import { CommandError, Refused, SegmentUnavailable } from '../../errors.ts'
import { FormatError } from '../../segment/format.ts'
import { StorageError } from '../../segment/storage.ts'
import type { EngineContext } from '../context.ts'
import type { HostedNamespace, Namespaces } from '../namespaces.ts'
import { CutLost, type NamespaceCut } from './namespace-cut.ts'
import { PointFiles } from './point-files.ts'
import type { Point } from './point-format.ts'

/** What INFO tells of recovery points. */
export interface PointStatus {
  /** The last point that its hook took, and when it was cut; 0: none yet. */
  readonly published: number
  readonly publishedSeconds: number
  /** 0: none. */
  readonly underWay: number
  readonly stage: 'idle' | 'storing' | 'publishing'
  /** Segments that the point under way waits for. */
  readonly unstoredSegments: number
  /** Whether another point was asked for meanwhile. */
  readonly isNextOwed: boolean
  /** Why the last attempt did not succeed; '' when it did. */
  readonly note: string
}

export interface PointAnswer {
  /** The point that holds what was executed before it was asked for, and perhaps more. */
  readonly number: number
  readonly positions: readonly NamespacePosition[]
}

/** A point between its cut and its publication. */
interface PointUnderWay {
  readonly number: number
  readonly timestampSeconds: number
  readonly cuts: readonly NamespaceCut[]
  stage: 'storing' | 'publishing'
}

/** How often it is looked whether the store has taken one more segment. */
const lookEveryMs = 200
const publishPauses = { firstMs: 1_000, maxMs: 300_000 }
/** Epochs tell machines apart that had the same filesystem; nothing gives out another one yet. */
const epoch = 0

/** Recovery points: one at a time is cut, waited for until the store has all of it, written to a file, handed to the hook
 *  `recovery-point` until that exits 0, and then recorded. It is finished, not replaced; what is asked for meanwhile becomes one
 *  next point. A cut is kept in memory only: a restart forgets one that is not yet written to its file. */
export class Points implements Disposable {
  readonly #namespaces: Namespaces
  readonly #context: EngineContext
  readonly #files: PointFiles
  readonly #stopping = new AbortController()
  #lastNumber: number
  #published: Point | null
  #underWay: PointUnderWay | null = null
  readonly #next = new Set<HostedNamespace>()
  #note = ''

  private constructor(namespaces: Namespaces, context: EngineContext) {
    this.#namespaces = namespaces
    this.#context = context
    this.#files = new PointFiles(namespaces.options.dataDirectory, context)
    const recorded = Math.max(0, ...namespaces.list().map(({ namespace }) => namespace.lastPoint))
    this.#lastNumber = Math.max(recorded, this.#files.lastNumber)
    const newest = this.#files.read(this.#files.lastNumber)
    this.#published = newest !== null && this.#isRecorded(newest) ? newest : this.#files.read(recorded)
  }

  /** Goes on with the point that a crash left between its file and its record, if all of it is still there. */
  static open(namespaces: Namespaces, context: EngineContext): Points {
    const points = new Points(namespaces, context)
    const newest = points.#files.read(points.#files.lastNumber)
    // Without a hook there is nobody to take it.
    if (newest !== null && context.hooks.configured && !points.#isRecorded(newest)) points.#resume(newest)
    return points
  }

  get status(): PointStatus {
    const underWay = this.#underWay
    return {
      published: this.#published?.number ?? 0,
      publishedSeconds: this.#published?.timestampSeconds ?? 0,
      underWay: underWay?.number ?? 0,
      stage: underWay?.stage ?? 'idle',
      unstoredSegments: underWay?.cuts.reduce((sum, cut) => sum + cut.unstoredCount, 0) ?? 0,
      isNextOwed: this.#next.size > 0,
      note: this.#note,
    }
  }

  /** Cuts the namespaces in one step of the event loop, or owes it while another point is under way. When it settles, all that was
   *  executed in them before the call is on the local disk; the point is published later.
   *  @throws Refused without a store, CommandError when a namespace cannot be written */
  async request(wanted: readonly HostedNamespace[]): Promise<PointAnswer> {
    if (!this.#context.hooks.configured) throw new Refused(ErrorText.noStore)
    const number = this.#underWay === null ? this.#begin(wanted) : this.#owe(wanted, this.#underWay.number + 1)
    const before = wanted.map(({ namespace }) => namespace.position)
    const after = await Promise.all(wanted.map(({ namespace }) => namespace.sync()))
    // As of the cut, though the sync may have covered more.
    const positions = before.map((position, index) => {
      return { ...position, synced: Math.min(position.appended, after[index]!.synced) }
    })
    return { number, positions }
  }

  /** Begins nothing more. A hook under way is left to itself: the next start asks it again. */
  [Symbol.dispose](): void {
    this.#stopping.abort(new Error('the server ends'))
  }

  #begin(wanted: readonly HostedNamespace[]): number {
    const cuts = this.#cut(wanted)
    const published = this.#published
    if (published?.namespaces.length === cuts.length && cuts.every(cut => cut.isIn(published))) {
      for (const cut of cuts) cut[Symbol.dispose]()
      return published.number
    }
    return this.#follow(++this.#lastNumber, cuts)
  }

  #owe(wanted: readonly HostedNamespace[], number: number): number {
    for (const hosted of wanted) this.#next.add(hosted)
    return number
  }

  #follow(number: number, cuts: readonly NamespaceCut[]): number {
    const timestampSeconds = Math.floor(this.#context.clock.nowMs() / 1000)
    this.#bringToAnEnd({ number, timestampSeconds, cuts, stage: 'storing' }, null)
    return number
  }

  #bringToAnEnd(underWay: PointUnderWay, written: Point | null): void {
    this.#underWay = underWay
    const failed = (error: unknown) => this.#context.log.error('point.failed', { point: underWay.number, error })
    void this.#finish(underWay, written)
      .catch(failed)
      .then(() => {
        this.#underWay = null
        this.#beginNext()
      })
  }

  /** All or none of them. */
  #cut(wanted: Iterable<HostedNamespace>): readonly NamespaceCut[] {
    using cutting = new DisposableStack()
    const cuts = [...new Set(wanted)].map(({ namespace }) => cutting.use(this.#cutOne(namespace)))
    cutting.move()
    return cuts
  }

  #cutOne(namespace: HostedNamespace['namespace']): NamespaceCut {
    try {
      return namespace.cut()
    } catch (error) {
      throw error instanceof StorageError && error.full ? this.#context.room.diskFull(error) : error
    }
  }

  async #finish(underWay: PointUnderWay, written: Point | null): Promise<void> {
    const { number, cuts } = underWay
    const { log } = this.#context
    try {
      const point = written ?? (await this.#written(underWay))
      underWay.stage = 'publishing'
      await this.#publish(point, cuts)
      this.#published = point
      this.#note = ''
      this.#files.removeBefore(number)
      log.event('point.published', { point: number, namespaces: cuts.map(({ name }) => name) })
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      this.#giveUp(underWay, error)
    } finally {
      for (const cut of cuts) cut[Symbol.dispose]()
      // A namespace that is being reloaded cannot be cut.
      await Promise.allSettled([...this.#next].map(({ reloading }) => reloading))
    }
  }

  /** What was asked for is asked for again where that can help. */
  #giveUp({ number, cuts }: PointUnderWay, error: unknown): void {
    const isExpected = error instanceof CutLost || error instanceof CommandError || error instanceof FormatError
    if (!isExpected) throw error
    this.#note = `point ${number} was given up: ${error.message}`
    this.#context.log.warn('point.given_up', { point: number, reason: error.message })
    if (!(error instanceof CutLost)) return
    for (const { name } of cuts) {
      const hosted = this.#find(name)
      if (hosted !== undefined) this.#next.add(hosted)
    }
  }

  #beginNext(): void {
    const wanted = [...this.#next].filter(({ dropped, namespace }) => !dropped && !namespace.isClosed)
    this.#next.clear()
    if (wanted.length === 0 || this.#stopping.signal.aborted) return
    const number = ++this.#lastNumber
    try {
      this.#follow(number, this.#cut(wanted))
    } catch (error) {
      if (!(error instanceof CommandError || error instanceof StorageError)) throw error
      this.#note = `point ${number} was not cut: ${error.message}`
      this.#context.log.warn('point.given_up', { point: number, reason: error.message })
    }
  }

  /** Its file is on disk once the store has every segment of it. */
  async #written(underWay: PointUnderWay): Promise<Point> {
    const { number, timestampSeconds, cuts } = underWay
    const { clock } = this.#context
    const { signal } = this.#stopping
    while (!cuts.map(cut => cut.isStored()).every(Boolean)) await delay(clock, lookEveryMs, { signal })
    const previous = this.#published?.number ?? 0
    const namespaces = cuts.map(cut => cut.describe())
    const point: Point = { number, previous, epoch, timestampSeconds, namespaces }
    await this.#untilDone(cuts, async () => {
      await this.#files.write(point)
      return true
    })
    return point
  }

  /** The hook has exited 0, and then every namespace has it on record. */
  async #publish({ number }: Point, cuts: readonly NamespaceCut[]): Promise<void> {
    const path = this.#files.pathOf(number)
    await this.#untilDone(cuts, async () => {
      const exitCode = await this.#context.hooks.event(HookEvent.recoveryPoint, [path])
      if (exitCode === 0) return true
      this.#context.metrics.pointFailures.add()
      this.#note = `the hook answered ${exitCode ?? 'nothing'} to point ${number}`
      return false
    })
    await this.#untilDone(cuts, async () => {
      await Promise.all(cuts.map(cut => cut.recordPublished(epoch, number)))
      return true
    })
    this.#context.metrics.points.add()
  }

  /** Again and again with growing pauses, as long as the cuts are what they were. */
  async #untilDone(cuts: readonly NamespaceCut[], action: () => Promise<boolean>): Promise<void> {
    const { clock, random } = this.#context
    const { signal } = this.#stopping
    const backoff = new Backoff({ ...publishPauses, random })
    for (;;) {
      signal.throwIfAborted()
      for (const cut of cuts) cut.isStored()
      try {
        if (await action()) return
      } catch (error) {
        if (!(error instanceof StorageError)) throw error
        this.#note = error.message
      }
      await delay(clock, backoff.next(), { signal })
    }
  }

  /** A point with a file that not every namespace has on record was perhaps never heard of: the hook is asked again. */
  #resume(point: Point): void {
    const { number, timestampSeconds } = point
    const cuts = point.namespaces.map(part => this.#find(part.name)?.namespace.resumeCut(part) ?? null)
    if (!cuts.includes(null)) {
      this.#bringToAnEnd({ number, timestampSeconds, cuts: cuts as NamespaceCut[], stage: 'publishing' }, point)
      return
    }
    for (const cut of cuts) cut?.[Symbol.dispose]()
    this.#note = `point ${number} was given up: the start found no longer all of it`
    this.#context.log.warn('point.given_up', { point: number, reason: 'the start found no longer all of it' })
  }

  /** By every namespace of it that is still the one it was. */
  #isRecorded({ number, namespaces }: Point): boolean {
    return namespaces.every(({ name, incarnation }) => {
      const namespace = this.#find(name)?.namespace
      return namespace?.incarnation !== incarnation.toString('hex') || namespace.lastPoint >= number
    })
  }

  #find(name: string): HostedNamespace | undefined {
    try {
      return this.#namespaces.get(name)
    } catch (error) {
      if (!(error instanceof SegmentUnavailable)) throw error
      return undefined
    }
  }
}
