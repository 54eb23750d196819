import type { QueuedResult, StoreParams, StoreResult } from '@qsfs/protocol/stor-control'
import type { Log } from '@qsfs/telemetry/log'
import { StorError } from '../errors.ts'
import { objectNameOf } from '../object-name.ts'
import type { AskerOptions, ObjectStore } from '../object-store.ts'
import { openSource, removeWhenStored } from '../segment-file.ts'
import type { Job } from './job-format.ts'
import type { JobQueue, JobWork } from './job-queue.ts'

export interface StoreDesk {
  /** The open store, waited for a while. */
  readonly objects: (signal: AbortSignal | undefined) => Promise<ObjectStore>
  /** Null where no daemon can ever run. */
  readonly jobs: JobQueue | null
  readonly root: string | null
}

/** A store as it was asked for: waited for or not, its file deleted or not, remembered when it fails or not.
 *  @throws StorError */
export async function storeFile(
  { objects, jobs, root }: StoreDesk,
  params: StoreParams,
  options: AskerOptions,
): Promise<StoreResult | QueuedResult> {
  const { file, name = null, attach = null, delete: isDeleted = false, saveFailure, notBlocking } = params
  const wanted = { file, name, attach, delete: isDeleted }
  if (notBlocking && jobs?.isStarted) {
    objectNameOf(name ?? file, root)
    await (await openSource(file))[Symbol.asyncDispose]()
    return { jobId: String(await jobs.add({ ...wanted, cause: 'queued' })) }
  }
  if (saveFailure && jobs === null) {
    throw new StorError('refused', '--save-failure: the config names no socket, so no daemon could try again')
  }
  try {
    const stored = await (await objects(options.signal)).store(params, options)
    const kept = isDeleted ? await removeWhenStored(file, stored.sha256) : null
    return kept === null ? stored : { ...stored, kept }
  } catch (error) {
    if (!saveFailure || jobs === null || !(error instanceof StorError) || error.reason === 'refused') throw error
    const jobId = await jobs.add({ ...wanted, cause: 'failed' })
    throw new StorError(error.reason, `${error.message}; remembered as job ${jobId}`, { cause: error })
  }
}

/** What the daemon does for a job. */
export function storeJobWork(objects: StoreDesk['objects'], jobs: JobQueue, log: Log): JobWork {
  return async (job, signal) => {
    const stored = job.stored ?? (await storeJob(await objects(signal), job, signal))
    if (!job.delete) return
    // Noted first: a crash behind the deletion must not leave a job that looks for its file for ever.
    if (job.stored === null) await jobs.update({ ...job, stored })
    const kept = await removeWhenStored(job.file, stored)
    if (kept !== null) log.warn('job.file_kept', { jobId: job.number, reason: kept })
  }
}

async function storeJob(objects: ObjectStore, { file, name, attach }: Job, signal: AbortSignal): Promise<string> {
  const params = { file, ...(name === null ? {} : { name }), ...(attach === null ? {} : { attach }) }
  return (await objects.store(params, { signal })).sha256
}
