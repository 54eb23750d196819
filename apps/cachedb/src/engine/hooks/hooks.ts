import type { HookEvent } from '@qsfs/protocol/hook-events'

/** So many ids fit into one argument of a program (128 KiB on Linux). */
export const dirtyIdsMax = 11_900

/** What cachedb tells the world. Each call is one attempt, safe to repeat; who asked repeats it, with backoff. A hook that still waits
 *  for others of its pool when the signal is aborted is not run any more: HookWithdrawn. */
export interface Hooks {
  /** false when nobody listens: then no segment is ever stored, and nothing is waited for. */
  readonly configured: boolean
  /** A segment's index half was closed: `jump-index`, in the store pool, before `jump-data`.
   *  @returns whether the hook exited 0: then it knows of the dirty segments */
  indexClosed(closed: IndexClosed, signal?: AbortSignal): Promise<boolean>
  /** A segment was closed: `jump-data`, in the store pool.
   *  @returns the object id that the hook printed as `stored <object id>`; null when it printed none
   *  @throws HookFailed on a non-zero exit, a signal or a timeout */
  segmentClosed(closed: SegmentClosed, signal?: AbortSignal): Promise<string | null>
  /** An absent segment is wanted at its path: `missing-data`, in the retrieve pool. Exit 0 does not yet prove the file.
   *  @throws HookFailed */
  segmentMissing(missing: SegmentMissing, signal?: AbortSignal): Promise<void>
  /** A dead segment left the disk: `segment-deleted`, in the store pool, last.
   *  @throws HookFailed */
  segmentDeleted(deleted: SegmentDeleted, signal?: AbortSignal): Promise<void>
  /** Any other event of 0-db, with its argv behind the instance id. Settles when the hook ended, with its exit code (0 when nobody
   *  listens); null when it gave none: it could not be run, took too long, or a signal ended it. */
  event(name: HookEvent, args: readonly string[]): Promise<number | null>
  /** Runs of the last 300 s and those under way, oldest first. */
  runs(): readonly HookRun[]
  state(): HooksState
}

export interface IndexClosed {
  readonly hintPath: string
  readonly nextHintPath: string
  /** Segments that lost a live value since the hook last heard of them, ascending; at most `dirtyIdsMax`. */
  readonly dirtyIds: readonly number[]
}

export interface SegmentClosed {
  readonly dataPath: string
  readonly nextDataPath: string
  readonly hintPath: string
}

export interface SegmentMissing {
  readonly dataPath: string
  readonly hintPath: string
  /** null when a closed segment's file is lost and only its name is known. */
  readonly objectId: string | null
}

export interface SegmentDeleted {
  readonly dataPath: string
  readonly objectId: string
}

export interface HookRun {
  readonly event: string
  readonly args: readonly string[]
  readonly pid: number
  readonly startSeconds: number
  /** 0 while it runs. */
  readonly endSeconds: number
  readonly exitCode: number
}

export interface HooksState {
  /** Runs since the start, by how they ended. */
  readonly succeeded: number
  readonly failed: number
  readonly running: number
  /** Wait for others of their kind to end. */
  readonly waiting: number
  /** Events whose last run failed. */
  readonly failing: readonly string[]
  readonly lastFailure: HookFailure | null
}

export interface HookFailure {
  readonly event: string
  readonly reason: string
  readonly atSeconds: number
}

export class HookFailed extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'HookFailed'
  }
}

/** It was not run: nobody wants it any more. */
export class HookWithdrawn extends HookFailed {}

/** Nobody listens. */
export const noHooks: Hooks = Object.freeze({
  configured: false,
  indexClosed: async () => true,
  segmentClosed: async () => null,
  segmentMissing: async () => {
    throw new HookFailed('no hook is configured')
  },
  segmentDeleted: async () => {},
  event: async () => 0,
  runs: () => [],
  state: () => ({ succeeded: 0, failed: 0, running: 0, waiting: 0, failing: [], lastFailure: null }),
})
