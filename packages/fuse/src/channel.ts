import { closeSync, write, writeSync, writevSync } from 'node:fs'
import { Semaphore } from '@qsfs/concurrency/semaphore'
import type { Wakefulness } from '@qsfs/concurrency/wakefulness'

/** Requests in, replies out. Made once per mount; a test hands the session one without a kernel behind it. */
export interface RequestChannel {
  /** Hands over request after request, each valid until `onRequest` returns. Resolves when the mount is gone. */
  receive(onRequest: (request: Buffer) => void): Promise<void>
  /** Sends one reply: the head, its length field right for all of it, then the parts.
   *  @throws the kernel's error when it refuses the bytes; a caller that is gone is no error */
  reply(head: Uint8Array, parts: readonly Uint8Array[]): void
  /** Takes no more requests: they stay with the kernel, for the next process. Replies still go out. */
  leave(): void
  /** Tells the kernel something it did not ask for. Settles when it has acted on it; it may send requests meanwhile, and wait for
   *  their answers. An inode that it no longer knows is no error. */
  notify(message: Uint8Array): Promise<void>
}

/** Reads a descriptor into `buffer`, handing over the length of what came, until closed or failed: then `onEnd`, once. */
export type OpenReader = (
  fd: number,
  buffer: Buffer,
  onBytes: (lengthBytes: number) => void,
  onEnd: (failure: NodeJS.ErrnoException | null) => void,
) => OpenedReader

export interface OpenedReader {
  close(): void
  /** Reads no more, or hands over what it still reads. */
  pause(): void
}

/** The kernel sends no request longer than this: max_write and a page for the headers. */
export const requestBytesMax = 1024 * 1024 + 4096

/** writev(2) takes 1,024 pieces (UIO_MAXIOV). */
const replyPartsMax = 1023

/** Unmounted; or aborted through /sys/fs/fuse/connections or by `umount -f` (ECONNABORTED is negotiated, else ENODEV too).
 *  ENOENT from the epoll reader: aborted while a request was being copied (lock_request in fs/fuse/dev.c). */
const mountIsGone: ReadonlySet<string | undefined> = new Set(['ENODEV', 'ECONNABORTED', 'ENOENT'])

/** The only owner of a fuse descriptor. It waits by epoll, wakeful for a while after each request and each reply. */
export class KernelChannel implements RequestChannel, Disposable {
  readonly #fd: number
  readonly #openReader: OpenReader
  readonly #wakefulness: Wakefulness
  /** One buffer for all requests: a fresh MiB each costs two thirds of the write speed. */
  readonly #buffer = Buffer.allocUnsafeSlow(requestBytesMax)
  /** A thread of the pool each, of four, and others are needed for the answers: to read requests, to find the store again. */
  readonly #notifyTurn = new Semaphore(2)
  #reader: OpenedReader | null = null
  #isLeaving = false
  #closed = false

  /** @param fd an open /dev/fuse, blocking as `open` left it; closed by this channel */
  constructor(fd: number, openReader: OpenReader, wakefulness: Wakefulness) {
    this.#fd = fd
    this.#openReader = openReader
    this.#wakefulness = wakefulness
  }

  receive(onRequest: (request: Buffer) => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#reader = this.#openReader(
      this.#fd,
      this.#buffer,
      lengthBytes => {
        // Not answered by us: the kernel asks the next process.
        if (this.#closed || this.#isLeaving) return
        this.#wakefulness.came()
        onRequest(this.#buffer.subarray(0, lengthBytes))
        this.#wakefulness.stay()
      },
      failure => {
        this.#closed = true
        if (failure === null || mountIsGone.has(failure.code)) resolve()
        else reject(failure)
      },
    )
    return promise
  }

  reply(head: Uint8Array, parts: readonly Uint8Array[]): void {
    if (this.#closed) return
    try {
      if (parts.length === 0) writeSync(this.#fd, head)
      else if (parts.length <= replyPartsMax) writevSync(this.#fd, [head, ...parts])
      else writevSync(this.#fd, [head, Buffer.concat(parts)])
    } catch (error) {
      if (!mountIsGone.has((error as NodeJS.ErrnoException).code)) throw error
    }
    this.#wakefulness.stay()
  }

  leave(): void {
    this.#isLeaving = true
    this.#reader?.pause()
  }

  async notify(message: Uint8Array): Promise<void> {
    using _turn = await this.#notifyTurn.acquire()
    if (this.#closed) return
    // From a thread of the pool: the kernel may not return from it before this thread has answered it.
    await new Promise<void>((resolve, reject) => {
      write(this.#fd, message, error => {
        if (error === null || error.code === 'ENOENT' || mountIsGone.has(error.code)) resolve()
        else reject(error)
      })
    })
  }

  /** Closes the descriptor: if it was the last one of its mount, every caller in it gets ENOTCONN. */
  [Symbol.dispose](): void {
    if (this.#reader !== null) this.#reader.close()
    else if (!this.#closed) closeSync(this.#fd)
    this.#closed = true
  }
}
