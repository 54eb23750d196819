import type { Socket } from 'node:net'

/** How long a connection has stood still. It is looked at now and then, so that commands pay nothing for it. */
export class Progress {
  readonly #socket: Socket
  #heardBytes = 0
  #heardMs: number
  #takenBytes = 0
  #queuedBytes = 0
  #takenMs: number

  constructor(socket: Socket, nowMs: number) {
    this.#socket = socket
    this.#heardMs = nowMs
    this.#takenMs = nowMs
  }

  /** Milliseconds since the client was seen to send something; being busy for it counts as hearing from it. */
  silentMs(nowMs: number, isBusy: boolean): number {
    const { bytesRead } = this.#socket
    if (isBusy || bytesRead !== this.#heardBytes) this.#heardMs = nowMs
    this.#heardBytes = bytesRead
    return nowMs - this.#heardMs
  }

  /** Milliseconds since the client was seen to take a byte of the output that waits for it; 0 when none waits. */
  unreadMs(nowMs: number): number {
    const { bytesWritten, writableLength } = this.#socket
    const takenBytes = bytesWritten - writableLength
    const queuedBytes = writeQueueBytes(this.#socket)
    const isMoving = takenBytes !== this.#takenBytes || queuedBytes !== this.#queuedBytes
    if (isMoving || writableLength === 0) this.#takenMs = nowMs
    this.#takenBytes = takenBytes
    this.#queuedBytes = queuedBytes
    return nowMs - this.#takenMs
  }
}

/** What is left of the write under way, which may be one reply of many megabytes. Node's own socket timeout looks at it as well, but
 *  no documentation promises it; without it a write counts as taken when it is done. */
function writeQueueBytes(socket: Socket): number {
  // What TLS has made of a write waits in the socket below it.
  const below: unknown = Reflect.get(socket, '_parent')
  const handle: unknown = Reflect.get(typeof below === 'object' && below !== null ? below : socket, '_handle')
  if (typeof handle !== 'object' || handle === null) return 0
  const bytes: unknown = Reflect.get(handle, 'writeQueueSize')
  return typeof bytes === 'number' ? bytes : 0
}
