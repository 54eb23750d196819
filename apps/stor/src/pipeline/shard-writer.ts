import { createHash } from 'node:crypto'
import { macBytes } from '@qsfs/crypto/aead'
import type { Backend, BackendOptions, PieceId } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import type { OwedRemoval, PieceRun, ShardPlace } from '../metadata/object-record.ts'

/** Writes one shard of one object, piece by piece in frame order, to one backend. After its first failure it writes
 *  nothing more: a shard with a hole is of no use. */
export class ShardWriter {
  readonly index: number
  readonly #backend: Backend
  readonly #runs: PieceRun[] = []
  readonly #root = createHash('sha256')
  #failure: StorError | null = null
  /** The last piece sent is in the runs, or known not to be. */
  #recorded: Promise<void> = Promise.resolve()

  /** @param away the monitor calls the backend down: nothing is sent, the shard is owed */
  constructor(index: number, backend: Backend, { away }: { readonly away: boolean }) {
    this.index = index
    this.#backend = backend
    if (away) this.#failure = new StorError('unavailable', `${backend.name} is down`)
  }

  /** Why this shard is not on its backend; null as long as it is. */
  get failure(): StorError | null {
    return this.#failure
  }

  get backendName(): string {
    return this.#backend.name
  }

  /** Call in frame order; the pieces may be under way together.
   *  @param value the piece; for the first one its shard header before it. Borrowed until the promise resolves
   *  @returns resolves when the backend answered, also when it refused */
  put(value: Buffer, options: BackendOptions): Promise<void> {
    // The root covers the shard as it should be, also where it is owed: whoever rebuilds it compares.
    this.#root.update(value.subarray(value.length - macBytes))
    if (this.#failure !== null) return this.#recorded
    const previous = this.#recorded
    const answered = this.#backend.put(value, options)
    // Its failure is taken in order, below; until then it must not count as unhandled.
    answered.catch(() => undefined)
    this.#recorded = this.#attempt(async () => {
      await previous
      addToRuns(this.#runs, await answered)
    }, options)
    return this.#recorded
  }

  async sync(options: BackendOptions): Promise<void> {
    if (this.#failure !== null) return
    await this.#attempt(() => this.#backend.sync({ ...options, ids: idsOfRuns(this.#runs) }), options)
  }

  /** Reads the piece of one frame back and asks `isGood`: a backend that says yes and keeps nothing is found out now. */
  async readBack(frameNumber: number, isGood: (value: Buffer) => boolean, options: BackendOptions): Promise<void> {
    if (this.#failure !== null) return
    await this.#attempt(async () => {
      if (!isGood(await this.#backend.get(idOfPiece(this.#runs, frameNumber), options))) {
        throw new StorError('damaged', `${this.#backend.name} gave back other bytes than it was given`)
      }
    }, options)
  }

  /** Removes what was written, after a store that failed. */
  async discard(options: BackendOptions): Promise<void> {
    if (this.#runs.length > 0) await this.#backend.remove([...idsOfRuns(this.#runs)], options)
  }

  finish(): ShardPlace {
    const confirmed = this.#failure === null
    const { index } = this
    return {
      index,
      backend: this.#backend.name,
      confirmed,
      runs: confirmed ? this.#runs : [],
      root: this.#root.digest(),
    }
  }

  /** What lies on the backend although the shard is not confirmed. */
  get leftovers(): OwedRemoval | null {
    if (this.#failure === null || this.#runs.length === 0) return null
    return { backend: this.#backend.name, runs: this.#runs }
  }

  async #attempt(action: () => Promise<void>, { signal }: BackendOptions): Promise<void> {
    try {
      await action()
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof StorError)) throw error
      this.#failure ??= error
    }
  }
}

/** The id of the piece of a frame.
 *  @throws StorError 'missing' when the runs end before */
export function idOfPiece(runs: readonly PieceRun[], frameNumber: number): PieceId {
  let left = frameNumber
  for (const { start, count } of runs) {
    if (left < count) return start + left
    left -= count
  }
  throw new StorError('missing', `the shard has no piece of frame ${frameNumber}`)
}

export function* idsOfRuns(runs: readonly PieceRun[]): Iterable<PieceId> {
  for (const { start, count } of runs) for (let i = 0; i < count; i++) yield start + i
}

/** Ids as runs, in their order. */
export function runsOf(ids: Iterable<PieceId>): PieceRun[] {
  const runs: PieceRun[] = []
  for (const id of ids) addToRuns(runs, id)
  return runs
}

function addToRuns(runs: PieceRun[], id: PieceId): void {
  const last = runs.at(-1)
  if (last !== undefined && id === last.start + last.count) runs[runs.length - 1] = { ...last, count: last.count + 1 }
  else runs.push({ start: id, count: 1 })
}
