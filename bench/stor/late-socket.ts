import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A unix socket before another one, whose answers come `delayMs` later and in their order; as many under way as there are. */
export async function lateSocket(path: string, target: string, delayMs: number): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    const backend = connect(target)
    client.pipe(backend)
    backend.on('data', bytes => setTimeout(() => client.write(bytes), delayMs))
    for (const [socket, other] of [
      [client, backend],
      [backend, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  })
  server.listen(path)
  await once(server, 'listening')
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
