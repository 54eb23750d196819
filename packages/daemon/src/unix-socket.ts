import { lstatSync, unlinkSync } from 'node:fs'
import { connect, type Server } from 'node:net'
import { ExpectedFailure } from './failure.ts'

/** sun_path of sockaddr_un holds 108 bytes with its NUL. */
const pathBytesMax = 107

/** Listens on a unix socket that only this user can open (mode 0600). A socket left by a dead process is removed.
 *  @throws ExpectedFailure when a live process answers there, or the path is too long */
export async function listenUnix(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > pathBytesMax) {
    throw new ExpectedFailure(2, `the socket path ${path} is longer than ${pathBytesMax} bytes; choose a shorter one`)
  }
  const state = await probeSocket(path)
  if (state === 'alive') throw new ExpectedFailure(1, `the socket ${path} is in use by another process`)
  if (state === 'dead') removeSocket(path)
  const listening = new Promise<void>((resolve, reject) => {
    server.once('listening', resolve).once('error', reject)
  })
  // bind(2) happens inside this call, so the mask is back before anything else runs.
  const before = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(before)
  }
  await listening
}

/** connect(2) refuses a plain file too; that one is somebody's. */
function removeSocket(path: string): void {
  if (!lstatSync(path).isSocket()) throw new ExpectedFailure(2, `${path} is there and is no socket`)
  unlinkSync(path)
}

/** alive: a process accepts connections there; dead: something without one; absent: nothing. */
export function probeSocket(path: string): Promise<'alive' | 'dead' | 'absent'> {
  return new Promise((resolve, reject) => {
    const probe = connect({ path })
    probe.once('connect', () => {
      probe.destroy()
      resolve('alive')
    })
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') resolve('dead')
      else if (error.code === 'ENOENT') resolve('absent')
      // Its queue of connections is full: somebody holds it.
      else if (error.code === 'EAGAIN') resolve('alive')
      else reject(error)
    })
  })
}
