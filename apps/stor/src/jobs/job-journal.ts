import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StorError } from '../errors.ts'
import { decodeJob, encodeJob, type Job, jobFileName, numberOfJobFile } from './job-format.ts'

/** Jobs on the disk, a file each. Page: docs/formats/stor-job.md. The holder of the store's lock is its only writer. */
export class JobJournal {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  /** All jobs, oldest first, and the paths of files that hold no job any more: they are left for people to look at.
   *  @throws StorError 'file' */
  async read(): Promise<{ readonly jobs: Job[]; readonly damaged: string[] }> {
    return await this.#orFileError('read', async () => {
      const jobs: Job[] = []
      const damaged: string[] = []
      for (const name of (await namesIn(this.directory)).sort()) {
        const number = numberOfJobFile(name)
        if (number === null) continue
        const job = decodeJob(number, await readFile(join(this.directory, name)))
        if (job === null) damaged.push(join(this.directory, name))
        else jobs.push(job)
      }
      return { jobs, damaged }
    })
  }

  /** The job is on the disk when it resolves, instead of what was there under its number.
   *  @throws StorError 'file' */
  async put(job: Job): Promise<void> {
    await this.#orFileError('write', async () => {
      const made = await mkdir(this.directory, { recursive: true, mode: 0o700 })
      if (made !== undefined) await syncDirectory(dirname(this.directory))
      const path = join(this.directory, jobFileName(job.number))
      {
        await using file = await open(`${path}.part`, 'w', 0o600)
        await file.writeFile(encodeJob(job))
        await file.sync()
      }
      await rename(`${path}.part`, path)
      await syncDirectory(this.directory)
    })
  }

  /** @throws StorError 'file' */
  async remove(number: number): Promise<void> {
    await this.#orFileError('write', async () => {
      await rm(join(this.directory, jobFileName(number)), { force: true })
      await syncDirectory(this.directory)
    })
  }

  async #orFileError<T>(verb: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (cause) {
      const text = `cannot ${verb} the jobs in ${this.directory}: ${(cause as Error).message}`
      throw new StorError('file', text, { cause })
    }
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r')
  await directory.sync()
}
