import type { Socket } from 'node:net'

/** Reads an accepted socket into one buffer, which many sockets may share: `receive` gets a view that is valid until it returns.
 *  Sockets that Node accepts otherwise read at most 64 KiB into fresh memory each time; `net.connect` has the option `onread`
 *  for this, a server has not. So this sets what that option sets, which no documentation promises: the one place here.
 *  @returns false when this Node has it no more; then the socket is as before and 'data' events come */
export function receiveInto(socket: Socket, buffer: Buffer, receive: (bytes: Buffer) => void): boolean {
  const symbols = Object.getOwnPropertySymbols(socket)
  const kBuffer = symbols.find(symbol => symbol.description === 'kBuffer')
  const kBufferCallback = symbols.find(symbol => symbol.description === 'kBufferCb')
  const handle: unknown = Reflect.get(socket, '_handle')
  if (!kBuffer || !kBufferCallback || !hasUserBuffer(handle)) return false
  Reflect.set(socket, kBuffer, buffer)
  Reflect.set(socket, kBufferCallback, (lengthBytes: number) => {
    receive(buffer.subarray(0, lengthBytes))
    return true
  })
  handle.useUserBuffer(buffer)
  socket.resume()
  return true
}

function hasUserBuffer(handle: unknown): handle is { useUserBuffer(buffer: Buffer): void } {
  return typeof handle === 'object' && handle !== null && typeof Reflect.get(handle, 'useUserBuffer') === 'function'
}
