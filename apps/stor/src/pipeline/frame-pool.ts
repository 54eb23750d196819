import assert from 'node:assert'
import { Worker } from 'node:worker_threads'
import { type Permit, Semaphore } from '@qsfs/concurrency/semaphore'
import { StorError } from '../errors.ts'
import type { AnswerMessage, Job, JobResult } from './frame-jobs.ts'

export interface FramePoolLimits {
  readonly workerCount: number
  /** Frames that are coded, sent or waiting to be, over all stores: the memory bound of storing. */
  readonly framesInFlightMax: number
  /** The same for retrieving, apart, so that a slow upload never holds up a read. */
  readonly decodesInFlightMax: number
}

/** Two cores, eight frames of 1.5 MiB each: past that nothing gets faster (measured). */
export const defaultFramePoolLimits: FramePoolLimits = { workerCount: 2, framesInFlightMax: 8, decodesInFlightMax: 4 }

// Frames live outside these heaps. Without the limits two workers hold 330 MB instead of 160 (measured).
const resourceLimits = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 }

/** Shared memory for one frame, lent. */
export interface Slot extends Disposable {
  readonly memory: SharedArrayBuffer
  readonly bytes: Buffer
}

/** A bounded number of slots, first come first served. A slot grows to the largest frame it was asked to hold. */
export class SlotPool {
  readonly #permits: Semaphore
  readonly #free: SharedArrayBuffer[] = []

  constructor(countMax: number) {
    this.#permits = new Semaphore(countMax)
  }

  /** Waits until a slot is free. */
  async take(sizeBytes: number, options: { readonly signal?: AbortSignal } = {}): Promise<Slot> {
    const permit = await this.#permits.acquire(1, options)
    const free = this.#free.pop()
    const memory = free !== undefined && free.byteLength >= sizeBytes ? free : new SharedArrayBuffer(sizeBytes)
    return { memory, bytes: Buffer.from(memory), [Symbol.dispose]: () => this.#giveBack(memory, permit) }
  }

  #giveBack(memory: SharedArrayBuffer, permit: Permit): void {
    this.#free.push(memory)
    permit.release()
  }
}

/** Worker threads that code frames, and one that digests files. Slots bound how much work is under way. */
export class FramePool implements AsyncDisposable {
  readonly encodeSlots: SlotPool
  readonly decodeSlots: SlotPool
  readonly #coders: readonly JobWorker[]
  #streamCount = 0
  readonly #digester = new JobWorker(new URL('./digest-worker.ts', import.meta.url))

  constructor({ workerCount, framesInFlightMax, decodesInFlightMax }: FramePoolLimits = defaultFramePoolLimits) {
    this.encodeSlots = new SlotPool(framesInFlightMax)
    this.decodeSlots = new SlotPool(decodesInFlightMax)
    const script = new URL('./frame-worker.ts', import.meta.url)
    this.#coders = Array.from({ length: workerCount }, () => new JobWorker(script))
  }

  /** Starts the threads now; otherwise the first frame and the first digest wait for theirs (60 ms each). */
  warm(): void {
    for (const worker of [...this.#coders, this.#digester]) worker.start()
  }

  /** A number no other stream of digests has. */
  nextStream(): number {
    return this.#streamCount++
  }

  /** Runs one job in the worker that has least to do.
   *  @throws StorError 'file' or 'damaged'; any other error is a bug in the job */
  run<J extends Job>(job: J): Promise<JobResult<J>> {
    const idlest = (best: JobWorker, next: JobWorker) => (next.pendingCount < best.pendingCount ? next : best)
    const coding = job.kind === 'encode' || job.kind === 'decode'
    return (coding ? this.#coders.reduce(idlest) : this.#digester).run(job)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#coders, this.#digester].map(worker => worker[Symbol.asyncDispose]()))
  }
}

/** One worker thread, started when first needed and again after it died. */
class JobWorker implements AsyncDisposable {
  readonly #script: URL
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>()
  #worker: Worker | null = null
  #nextNumber = 0
  #disposed = false

  constructor(script: URL) {
    this.#script = script
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  start(): Worker {
    assert(!this.#disposed, 'a job for a pool that was disposed of')
    if (this.#worker !== null) return this.#worker
    const worker = new Worker(this.#script, { resourceLimits })
    worker.on('message', answer => this.#settle(answer))
    worker.on('error', error => this.#died(worker, error as Error))
    worker.on('exit', code => this.#died(worker, new Error(`a worker ended with ${code}`)))
    this.#worker = worker
    return worker
  }

  run<J extends Job>(job: J): Promise<JobResult<J>> {
    const number = this.#nextNumber++
    const waiting = Promise.withResolvers<unknown>()
    this.start().postMessage({ number, job })
    this.#pending.set(number, waiting)
    return waiting.promise as Promise<JobResult<J>>
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    await this.#worker?.terminate()
  }

  #settle({ number, result, error }: AnswerMessage): void {
    const waiting = this.#pending.get(number)
    assert(waiting !== undefined, `a worker answered job ${number}, which nobody asked`)
    this.#pending.delete(number)
    if (error === undefined) waiting.resolve(result)
    else waiting.reject(error.reason === null ? new Error(error.message) : new StorError(error.reason, error.message))
  }

  /** The jobs it had are lost; the next job starts another worker. */
  #died(worker: Worker, error: Error): void {
    if (this.#worker !== worker) return
    this.#worker = null
    const lost = [...this.#pending.values()]
    this.#pending.clear()
    for (const waiting of lost) waiting.reject(error)
  }
}
