import type { Clock } from '@qsfs/concurrency/clock'

export interface JobContext {
  /** Aborted when nobody has asked for the job for a while, or the daemon stops. */
  readonly signal: AbortSignal
  readonly progress: (doneBytes: number, totalBytes: number) => void
}
type ProgressListener = (progress: { doneBytes: number; totalBytes: number }) => void

interface SharedJob<T> {
  readonly result: Promise<T>
  readonly stop: AbortController
  readonly listeners: Set<ProgressListener>
  askerCount: number
  /** Takes back the end that was set when the last asker left. */
  spare: () => void
}

/** Who asks for what is already under way joins it. A job outlives its askers for a grace: a hook that was killed by its
 *  timeout is started again, and finds the work where it left it. */
export class SharedJobs<T> {
  readonly #jobs = new Map<string, SharedJob<T>>()
  readonly #clock: Clock
  readonly #graceMs: number

  constructor(clock: Clock, { graceMs }: { readonly graceMs: number }) {
    this.#clock = clock
    this.#graceMs = graceMs
  }

  /** Jobs under way. */
  get size(): number {
    return this.#jobs.size
  }

  /** @throws what the job throws; the signal's reason when this asker leaves before it ended */
  async run(
    key: string,
    start: (context: JobContext) => Promise<T>,
    { signal, onProgress }: { readonly signal?: AbortSignal; readonly onProgress?: ProgressListener } = {},
  ): Promise<T> {
    signal?.throwIfAborted()
    const job = this.#jobs.get(key) ?? this.#start(key, start)
    const listener: ProgressListener = progress => onProgress?.(progress)
    job.askerCount++
    job.spare()
    job.listeners.add(listener)
    const { promise: left, reject } = Promise.withResolvers<never>()
    const onAbort = () => reject(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await Promise.race([job.result, left])
    } finally {
      signal?.removeEventListener('abort', onAbort)
      job.listeners.delete(listener)
      job.askerCount--
      this.#stopWhenUnwanted(job)
    }
  }

  /** Ends all jobs and waits for them. */
  async stop(reason: Error): Promise<void> {
    const jobs = [...this.#jobs.values()]
    for (const job of jobs) job.stop.abort(reason)
    await Promise.allSettled(jobs.map(({ result }) => result))
  }

  #start(key: string, start: (context: JobContext) => Promise<T>): SharedJob<T> {
    const stop = new AbortController()
    const listeners = new Set<ProgressListener>()
    const progress = (doneBytes: number, totalBytes: number) => {
      for (const listener of listeners) listener({ doneBytes, totalBytes })
    }
    // Begun in a later step: the job is in the map before it can end.
    const result = Promise.resolve()
      .then(() => start({ signal: stop.signal, progress }))
      .finally(() => this.#jobs.delete(key))
    // Its askers hear of it; one that nobody waits for any more fails unheard.
    result.catch(() => undefined)
    const job = { result, stop, listeners, askerCount: 0, spare: () => undefined }
    this.#jobs.set(key, job)
    return job
  }

  #stopWhenUnwanted(job: SharedJob<T>): void {
    if (job.askerCount > 0) return
    job.spare = this.#clock.schedule(this.#graceMs, () => job.stop.abort(new Error('nobody waits for it any more')))
  }
}
