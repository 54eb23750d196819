import { once } from 'node:events'
import { connect } from 'node:net'
import type { Server } from './servers.ts'

const commandsPerWrite = 500
const inFlightMax = 4

/** Sets `count` keys over one connection, many commands to a write.
 *  @param keyOf as redis-benchmark names them with `-r`, or '' where the server gives ids */
export async function load(
  { socketPath, setReplyBytes }: Server,
  count: number,
  { keyOf, keyReplyBytes, value }: { keyOf: (index: number) => string; keyReplyBytes: number; value: Buffer },
): Promise<void> {
  const socket = connect(socketPath)
  await once(socket, 'connect')
  const replyBytes = setReplyBytes(keyReplyBytes)
  let receivedBytes = 0
  let news = Promise.withResolvers<void>()
  socket.on('data', chunk => {
    receivedBytes += chunk.length
    news.resolve()
  })
  socket.on('close', () => news.reject(new Error('the server hung up')))
  const until = async (commands: number) => {
    while (receivedBytes < commands * replyBytes) {
      news = Promise.withResolvers()
      await news.promise
    }
  }
  const head = (key: string) =>
    Buffer.from(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n`, 'latin1')
  const end = Buffer.from('\r\n')
  for (let first = 0; first < count; first += commandsPerWrite) {
    const last = Math.min(first + commandsPerWrite, count)
    const parts: Buffer[] = []
    for (let index = first; index < last; index++) parts.push(head(keyOf(index)), value, end)
    socket.write(Buffer.concat(parts))
    await until(first - inFlightMax * commandsPerWrite)
  }
  await until(count)
  if (receivedBytes !== count * replyBytes)
    throw new Error(`${receivedBytes} bytes of replies, not ${count * replyBytes}`)
  socket.removeAllListeners('close')
  socket.destroy()
}

/** The name that `redis-benchmark -r` makes of a number. */
export function benchmarkKey(index: number): string {
  return `key:${String(index).padStart(12, '0')}`
}
