import { equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { SocketlessServer } from './session-fixture.ts'

test('MGET reads a megabyte at once, and leaves the rest to threads', async () => {
  await using server = await SocketlessServer.start()
  const client = server.client()
  const { session } = client
  const value = Buffer.alloc(400_000, 'v')
  const keys = ['a', 'b', 'c', 'd', 'e'].map(key => Buffer.from(key))
  for (const key of keys) equal(await client.ask('SET', key, value), `$${key}`)
  const mget = (count: number) => session.execute([Buffer.from('MGET'), ...keys.slice(0, count)])

  const few = mget(3)
  ok(Array.isArray(few), 'no promise')
  equal(few.length, 3)
  equal(session.replyBytesDue, 0)
  const many = mget(5)
  ok(many instanceof Promise)
  equal(session.replyBytesDue, 5 * value.length)
  const values = (await many) as Buffer[]
  for (const read of values) ok(value.equals(read))
  equal(values.length, 5)
  equal(session.replyBytesDue, 0)
})
