import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Debian's gocryptfs with its defaults, mounted below `directory` until it is disposed. */
export async function mountGocryptfs(directory: string): Promise<AsyncDisposable & { readonly mount: string }> {
  const at = (name: string) => join(directory, name)
  const [cipher, mount, password] = [at('cipher'), at('plain'), at('password')]
  await mkdir(cipher)
  await mkdir(mount)
  await writeFile(password, 'only for a benchmark\n')
  try {
    await run('gocryptfs', ['-init', '-q', '-scryptn', '10', '-passfile', password, cipher])
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new Error('gocryptfs is not there; on Debian: apt-get install gocryptfs', { cause: error })
  }
  // It goes to the background, and with '-nosyslog' it would keep our pipes open: `run` would wait for ever.
  await run('gocryptfs', ['-q', '-passfile', password, cipher, mount])
  return { mount, [Symbol.asyncDispose]: async () => void (await run('umount', ['-l', mount])) }
}
