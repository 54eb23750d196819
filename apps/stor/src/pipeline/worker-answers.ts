import type { MessagePort } from 'node:worker_threads'
import { StorError } from '../errors.ts'
import type { AnswerMessage, AnyResult, Job, JobMessage } from './frame-jobs.ts'

/** Answers every job that arrives at a worker's port, with its result or its error. */
export function answerJobs(port: MessagePort, run: (job: Job) => Promise<AnyResult>): void {
  port.on('message', async ({ number, job }: JobMessage) => {
    port.postMessage(await answer(number, job, run))
  })
}

async function answer(number: number, job: Job, run: (job: Job) => Promise<AnyResult>): Promise<AnswerMessage> {
  try {
    return { number, result: await run(job) }
  } catch (error) {
    const isFileError = typeof (error as { syscall?: unknown }).syscall === 'string'
    const reason = error instanceof StorError ? error.reason : isFileError ? 'file' : null
    return {
      number,
      error: { reason, message: reason === null ? String((error as Error).stack) : (error as Error).message },
    }
  }
}
