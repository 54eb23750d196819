import { equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { BulkPool } from './bulk-pool.ts'
import { ReplyEncoder } from './encoder.ts'
import { type ReplyOrError, RespError } from './reply.ts'

function encode(...replies: ReplyOrError[]): string {
  const encoder = new ReplyEncoder()
  for (const reply of replies) encoder.push(reply)
  return Buffer.concat(encoder.take()).toString('latin1')
}

test('each kind of reply', () => {
  equal(encode('OK'), '+OK\r\n')
  equal(encode(-7), ':-7\r\n')
  equal(encode(null), '$-1\r\n')
  equal(encode(Buffer.from('ab')), '$2\r\nab\r\n')
  equal(encode(Buffer.alloc(0)), '$0\r\n\r\n')
  equal(encode(new RespError('Key not found')), '-Key not found\r\n')
  equal(
    encode([1, null, [Buffer.from('x')], new RespError('Internal Error')]),
    '*4\r\n:1\r\n$-1\r\n*1\r\n$1\r\nx\r\n-Internal Error\r\n',
  )
})

test('an error is one line whatever it says', () => {
  equal(encode(new RespError('IOERR hook said:\r\n+OK')), '-IOERR hook said: +OK\r\n')
})

test('a value of 4 KiB leaves in one piece with its length, and its memory is free at once', () => {
  const pool = new BulkPool()
  const encoder = new ReplyEncoder(pool)
  const value = pool.take(4096).fill(1)
  encoder.push(value)
  equal(pool.spareBytes, 4096)
  pool.take(4096).fill(2)
  const chunks = encoder.take()
  equal(chunks.length, 1)
  ok(chunks[0]!.equals(Buffer.concat([Buffer.from('$4096\r\n'), Buffer.alloc(4096, 1), Buffer.from('\r\n')])))
})

test('a value that does not fit beside the replies before it keeps its memory until it is sent', () => {
  const pool = new BulkPool()
  const encoder = new ReplyEncoder(pool)
  const values = Array.from({ length: 5 }, (_, n) => pool.take(4096).fill(n))
  for (const value of values) encoder.push(value)
  const chunks = encoder.take()
  equal(pool.spareBytes, 3 * 4096)
  ok(chunks.includes(values[3]!) && chunks.includes(values[4]!))
  const expected = values.flatMap(value => [Buffer.from('$4096\r\n'), value, Buffer.from('\r\n')])
  ok(Buffer.concat(chunks).equals(Buffer.concat(expected)))
})

test('small replies share a chunk, a large bulk is not copied', () => {
  const encoder = new ReplyEncoder()
  const large = Buffer.alloc(128 * 1024, 1)
  for (let count = 0; count < 100; count++) encoder.push('OK')
  encoder.push(large)
  encoder.push('OK')
  equal(encoder.bytes, 500 + '$131072\r\n'.length + large.length + 2 + 5)
  const chunks = encoder.take()
  equal(chunks.length, 3)
  equal(chunks[1], large)
  equal(encoder.bytes, 0)
  equal(encoder.take().length, 0)
})

test('the memory of small replies is used again once they have left, and not before', () => {
  const encoder = new ReplyEncoder()
  encoder.push('first')
  const [first] = encoder.take()
  encoder.push('second')
  encoder.reuse()
  encoder.push('third')
  equal(Buffer.concat(encoder.take()).toString(), '+second\r\n+third\r\n')
  equal(first?.toString(), '+first\r\n')
  encoder.reuse()
  encoder.push('4')
  const [fourth] = encoder.take()
  equal(fourth?.toString(), '+4\r\n')
  equal(fourth?.byteOffset, first?.byteOffset)
})

test('what was taken is not written over', () => {
  const encoder = new ReplyEncoder()
  const taken: Buffer[] = []
  let expected = ''
  for (let round = 0; round < 3000; round++) {
    const bulk = Buffer.from(`value ${round} `.repeat(round % 5))
    encoder.push(bulk)
    expected += `$${bulk.length}\r\n${bulk}\r\n`
    if (round % 3 === 0) taken.push(...encoder.take())
  }
  taken.push(...encoder.take())
  ok(Buffer.concat(taken).toString() === expected)
})
