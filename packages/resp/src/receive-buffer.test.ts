import { equal } from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { receiveInto } from './receive-buffer.ts'

test('this Node reads accepted sockets into our buffer, and says so where it cannot', async () => {
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 's.sock')
  const server = createServer()
  server.listen(path)
  await once(server, 'listening')
  const client = connect(path)
  const [accepted] = (await once(server, 'connection')) as [Socket]
  const received: string[] = []
  equal(
    receiveInto(accepted, Buffer.alloc(4), bytes => received.push(bytes.toString())),
    true,
    'the pinned Node has the interface; else large values cost more and 64 KiB is read at a time',
  )
  client.end('abcdefghij')
  await once(accepted, 'end')
  equal(received.join('|'), 'abcd|efgh|ij')
  equal(
    receiveInto({} as Socket, Buffer.alloc(4), () => undefined),
    false,
  )
  accepted.destroy()
  client.destroy()
  server.close()
})
