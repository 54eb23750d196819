import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string
}

/** Linux keeps what is in it in memory. */
const MEMORY = '/dev/shm'

/** A fresh empty directory, removed with all that is in it: `await using tmp = await temporaryDirectory()`. `inMemory`,
 *  where there is such a place: syncs cost nothing there, and other tests' disks do not matter. */
export async function temporaryDirectory({ inMemory = false } = {}): Promise<TemporaryDirectory> {
  const place = inMemory && existsSync(MEMORY) ? MEMORY : tmpdir()
  const path = await mkdtemp(join(place, 'qsfs-test-'))
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }),
  }
}
