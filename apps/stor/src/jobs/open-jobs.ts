import type { StorConfig } from '../config.ts'
import { JobJournal } from './job-journal.ts'
import { JobQueue, type JobQueueTools } from './job-queue.ts'

/** The jobs of a store, not started. Null where no daemon can run.
 *  @throws StorError 'file' */
export async function openJobs(config: StorConfig, tools: JobQueueTools): Promise<JobQueue | null> {
  const { jobsDirectory, jobsMax, storesMax } = config
  if (jobsDirectory === null) return null
  // One place for stores stays free of jobs, where there are several.
  const limits = { jobsMax, concurrency: Math.max(1, storesMax - 1) }
  return await JobQueue.open(new JobJournal(jobsDirectory), limits, tools)
}
