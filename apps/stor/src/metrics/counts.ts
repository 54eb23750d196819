import type { ControlHandler } from '@qsfs/daemon/control'
import type { Counter, Metrics } from '@qsfs/telemetry/metrics'
import { BackendMetrics } from '../backend/measure.ts'
import type { JobWork } from '../jobs/job-queue.ts'
import type { TransferCounts } from '../object-store.ts'
import type { PieceFault } from '../pipeline/object-reader.ts'

/** The commands that zstor counts. */
const COUNTED_VERBS = ['store', 'retrieve', 'rebuild', 'check'] as const
const FAULTS: readonly PieceFault['kind'][] = ['wrong', 'corrupt', 'missing', 'unavailable', 'slow']

/** What stor counts since its start; declared once per process, so a reload of the config loses none of it. */
export class StorCounts implements TransferCounts {
  readonly backends: BackendMetrics
  readonly #commands: ReadonlyMap<string, Counter>
  readonly #objects: Counter
  readonly #bytes: Counter
  readonly #faults: Counter

  constructor(metrics: Metrics) {
    this.#commands = new Map(
      COUNTED_VERBS.map(verb => {
        const help = `Commands "${verb}" that ended, by whether they succeeded`
        return [verb, metrics.counter(`zstore_${verb}_commands_finished`, help, ['success'])]
      }),
    )
    const labels = ['operation']
    this.#objects = metrics.counter('qsfs_stor_objects_total', 'Objects stored and retrieved', labels)
    this.#bytes = metrics.counter('qsfs_stor_object_bytes_total', 'Plain bytes of their files', labels)
    this.#faults = metrics.counter('qsfs_stor_faulty_pieces_total', 'Pieces that readers did without', ['kind'])
    this.backends = new BackendMetrics(metrics)
    // From the first scrape on: a rate needs a zero before the first one.
    for (const counter of this.#commands.values()) for (const success of ['true', 'false']) counter.add(0, [success])
    for (const counter of [this.#objects, this.#bytes]) for (const one of ['store', 'retrieve']) counter.add(0, [one])
    for (const kind of FAULTS) this.#faults.add(0, [kind])
  }

  stored(sizeBytes: number): void {
    this.#objects.add(1, ['store'])
    this.#bytes.add(sizeBytes, ['store'])
  }

  retrieved(sizeBytes: number): void {
    this.#objects.add(1, ['retrieve'])
    this.#bytes.add(sizeBytes, ['retrieve'])
  }

  faulty(kind: PieceFault['kind']): void {
    this.#faults.add(1, [kind])
  }

  /** The verbs, counted when they end. A store that nobody waits for ends as a job. */
  ofCommands(handlers: Readonly<Record<string, ControlHandler>>): Readonly<Record<string, ControlHandler>> {
    const entries = Object.entries(handlers).map(([verb, handler]): [string, ControlHandler] => {
      const counter = this.#commands.get(verb)
      return [verb, counter === undefined ? handler : counted(counter, handler)]
    })
    return Object.fromEntries(entries)
  }

  /** Each attempt at a job is a store. */
  ofJobs(work: JobWork): JobWork {
    return counted(this.#commands.get('store')!, work)
  }
}

function counted<A extends readonly unknown[], R>(
  counter: Counter,
  action: (...args: A) => R | Promise<R>,
): (...args: A) => Promise<R> {
  return async (...args) => {
    try {
      const answer = await action(...args)
      if (!isQueued(answer)) counter.add(1, [String(isSuccess(answer))])
      return answer
    } catch (error) {
      counter.add(1, ['false'])
      throw error
    }
  }
}

function isQueued(answer: unknown): boolean {
  return typeof answer === 'object' && answer !== null && 'jobId' in answer
}

/** A check that found no object and a rebuild that left one thin are answers, and no success, as with zstor. */
function isSuccess(answer: unknown): boolean {
  if (typeof answer !== 'object' || answer === null) return true
  if ('found' in answer && answer.found === false) return false
  return !('pendingCount' in answer && answer.pendingCount !== 0)
}
