import type { MaybePromise } from '@qsfs/fuse/filesystem'
import type { MetadataLog } from './metadata-log.ts'
import { NotLoaded } from './record-cache.ts'

/** Runs an operation that looks at records, and again after each record it had to wait for. All its looks must come before its
 *  first change: so it happens in one synchronous stretch, and nothing needs a lock. */
export function attempt<T>(operation: () => T): MaybePromise<T> {
  try {
    return operation()
  } catch (error) {
    if (error instanceof NotLoaded) return again(error, undefined, operation)
    throw error
  }
}

/** The same for an operation that changes records: it starts when the log has room. */
export function change<T>(log: MetadataLog, operation: () => T): MaybePromise<T> {
  const room = log.room()
  if (room !== undefined) return again({ loading: room }, log, operation)
  try {
    return operation()
  } catch (error) {
    if (error instanceof NotLoaded) return again(error, log, operation)
    throw error
  }
}

async function again<T>(
  missing: { loading: Promise<void> },
  log: MetadataLog | undefined,
  operation: () => T,
): Promise<T> {
  for (let waiting = missing; ; ) {
    await waiting.loading
    for (let room = log?.room(); room !== undefined; room = log?.room()) await room
    try {
      return operation()
    } catch (error) {
      if (!(error instanceof NotLoaded)) throw error
      waiting = error
    }
  }
}
