import { equal, match } from 'node:assert/strict'
import { test } from 'node:test'
import { CachedbProcess } from './cachedb-process.ts'

// The golden frames of docs/formats/resp.md, byte by byte.

test('our commands on the wire', async t => {
  const cachedb = await CachedbProcess.start(t)
  const client = await cachedb.raw()
  const hex = '([0-9a-f]{16})'
  const position = (count: number) =>
    new RegExp(
      `^\\*1\\r\\n\\*5\\r\\n\\$16\\r\\n${hex}\\r\\n:0\\r\\n:${count}\\r\\n:${count}\\r\\n\\$16\\r\\n${hex}\\r\\n$`,
    )
  const positionBytes = '*1\r\n*5\r\n$16\r\n0123456789abcdef\r\n:0\r\n:0\r\n:0\r\n$16\r\n0123456789abcdef\r\n'.length

  //                     name          token        namespace
  client.socket.write('*3\r\n$5\r\nOWNER\r\n$4\r\nfs.1\r\n$7\r\ndefault\r\n')
  match(await client.bytes(positionBytes), position(0))

  client.socket.write('*3\r\n$3\r\nSET\r\n$5\r\nhello\r\n$5\r\nworld\r\n')
  equal(await client.bytes(11), '$5\r\nhello\r\n')

  //                     name
  client.socket.write('*2\r\n$5\r\nFSYNC\r\n$7\r\ndefault\r\n')
  match(await client.bytes(positionBytes), position(1))

  //                     name              key             offset    length
  client.socket.write('*4\r\n$8\r\nGETRANGE\r\n$5\r\nhello\r\n$1\r\n1\r\n$1\r\n3\r\n')
  equal(await client.bytes(9), '$3\r\norl\r\n')

  client.socket.write('*1\r\n$8\r\nSEGMENTS\r\n')
  // One open segment, file header 28 bytes and an entry of 18 + 5 + 5, all of it live, no object, local, nothing to say.
  const segment = '*1\r\n*7\r\n:0\r\n$4\r\nopen\r\n:56\r\n:28\r\n$-1\r\n:1\r\n$0\r\n\r\n'
  equal(await client.bytes(segment.length), segment)

  client.socket.write('*2\r\n$4\r\nWARM\r\n$1\r\n0\r\n')
  equal(await client.bytes(5), '+OK\r\n')

  //                     name            key
  client.socket.write('*2\r\n$6\r\nKEYCUR\r\n$5\r\nhello\r\n')
  const cursor = Buffer.from(
    // key   segment    length     offset     CRC
    '05' + '00000000' + '05000000' + '1c000000' + '7bf7d874',
    'hex',
  ).toString('latin1')
  equal(await client.bytes(5 + 17 + 2), `$17\r\n${cursor}\r\n`)

  await client.ask('SET', 'hello', 'WORLD2', '1700000001')
  //                     name             key
  client.socket.write('*2\r\n$7\r\nHISTORY\r\n$5\r\nhello\r\n')
  //                                       segment    offset
  const older = Buffer.from('00000000' + '1c000000', 'hex').toString('latin1')
  const version = `*3\r\n$8\r\n${older}\r\n$10\r\n1700000001\r\n$6\r\nWORLD2\r\n`
  equal(await client.bytes(version.length), version)
})
