import { read } from 'node:fs'
import type { OpenReader } from './channel.ts'

/** Reads a blocking descriptor by reads parked in libuv's thread pool: the fallback of pipe-handle.ts. One thread of the
 *  pool is held all the time, and comes back only when the kernel answers: unmount before the process leaves. */
export const openPoolReader: OpenReader = (fd, buffer, onBytes, onEnd) => {
  let closed = false
  const park = () => {
    read(fd, buffer, 0, buffer.length, null, (error, lengthBytes) => {
      if (closed) return
      // EINTR: a signal came first. ENOENT: the request was taken back while it was read. Neither ends the mount.
      if (error !== null && error.code !== 'EINTR' && error.code !== 'ENOENT') {
        closed = true
        onEnd(error)
        return
      }
      if (error === null) onBytes(lengthBytes)
      park()
    })
  }
  park()
  return {
    // A parked read ends with the next request only.
    pause() {},
    close() {
      if (closed) return
      closed = true
      onEnd(null)
    },
  }
}
