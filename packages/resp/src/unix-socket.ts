import { once } from 'node:events'
import { existsSync, lstatSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname } from 'node:path'

/** sizeof(sun_path) - 1; a longer path is EINVAL, which tells nobody why. */
const socketPathBytesMax = 107

/** The socket cannot be had; `message` is one sentence for people. */
export class SocketUnavailable extends Error {
  override readonly name = 'SocketUnavailable'
  /** How a daemon ends that hears this while it starts: the machine says no. */
  readonly exitCode = 1
}

/** Makes `path` free for a listener: removes the socket of a process that is gone.
 *  @throws SocketUnavailable when somebody listens there, when something else lies there, or when the path is too long */
export async function clearStaleSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > socketPathBytesMax)
    throw new SocketUnavailable(`socket path ${path} is longer than ${socketPathBytesMax} bytes`)
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found) {
    // Node would say EACCES.
    if (!existsSync(dirname(path))) throw new SocketUnavailable(`socket ${path}: its directory does not exist; make it`)
    return
  }
  if (!found.isSocket()) throw new SocketUnavailable(`${path} exists and is not a socket`)
  if (await isListening(path)) throw new SocketUnavailable(`another server listens on ${path}`)
  unlinkSync(path)
}

async function isListening(path: string): Promise<boolean> {
  const probe = connect(path)
  try {
    await once(probe, 'connect')
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ECONNREFUSED') return false
    // Its queue of connections is full: somebody holds it.
    if (code === 'EAGAIN') return true
    throw new SocketUnavailable(`socket ${path} cannot be probed: ${(error as Error).message}`, { cause: error })
  } finally {
    probe.destroy()
  }
}
