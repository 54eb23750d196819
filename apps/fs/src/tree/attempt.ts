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
  if (!log.hasRoomAtOnce()) return afterRoom(log, operation)
  try {
    return operation()
  } catch (error) {
    if (error instanceof NotLoaded) return again(error, log, operation)
    throw error
  }
}

async function afterRoom<T>(log: MetadataLog, operation: () => T): Promise<T> {
  await log.room()
  try {
    return operation()
  } catch (error) {
    if (error instanceof NotLoaded) return again(error, log, operation)
    throw error
  }
}

/** Room is asked for last and once: it is granted for the very next stretch. */
async function again<T>(first: NotLoaded, log: MetadataLog | undefined, operation: () => T): Promise<T> {
  for (let missing = first; ; ) {
    await missing.loading
    const room = log?.room()
    if (room !== undefined) await room
    try {
      return operation()
    } catch (error) {
      if (!(error instanceof NotLoaded)) throw error
      missing = error
    }
  }
}
