import { createServer, Socket } from 'node:net'
import type { OpenReader } from './channel.ts'

// The one undocumented interface of this package. libuv's Pipe handle waits by epoll for any descriptor that can be
// polled, /dev/fuse included, and reads it into a buffer of ours; `new net.Socket({ fd })` refuses a character device,
// so the handle is made here. Node is pinned; where it changes, `probePipeHandle` says so and pool reads take over.

/** What Node does not type. */
interface PipeHandle {
  /** Takes the descriptor over and makes it non-blocking. @returns 0, or a negative errno */
  open(fd: number): number | undefined
  close(): void
}
type PipeConstructor = new (type: number) => PipeHandle

/** `PipeConstants.SOCKET` of Node's pipe_wrap.cc: a plain stream, as against a server or an IPC channel. */
const pipeSocket = 0

/** @returns how to read a descriptor by epoll, or null when this Node has no Pipe handle as we know it */
export function probePipeHandle(): OpenReader | null {
  const Pipe = pipeConstructor()
  if (Pipe === null) return null
  return (fd, buffer, onBytes, onEnd) => {
    const handle = new Pipe(pipeSocket)
    const opened = handle.open(fd)
    if (opened !== undefined && opened !== 0) throw new Error(`epoll on descriptor ${fd} failed: errno ${-opened}`)
    const callback = (lengthBytes: number) => {
      onBytes(lengthBytes)
      return true
    }
    // `handle` is what @types/node leaves out of the options.
    const options: object = { handle, onread: { buffer, callback } }
    const socket = new Socket(options)
    let failure: NodeJS.ErrnoException | null = null
    socket.on('error', (error: NodeJS.ErrnoException) => {
      failure = error
    })
    socket.on('close', () => onEnd(failure))
    return { close: () => void socket.destroy(), pause: () => void socket.pause() }
  }
}

/** Taken from a server that listens for an instant on an abstract name, which leaves no file. */
function pipeConstructor(): PipeConstructor | null {
  const server = createServer().listen(`\0qsfs-pipe-probe-${process.pid}-${performance.now()}`)
  try {
    const handle: unknown = '_handle' in server ? server._handle : null
    const made = handle === null ? null : (handle as object).constructor
    return made?.name === 'Pipe' && 'open' in made.prototype ? (made as PipeConstructor) : null
  } finally {
    server.close()
  }
}
