import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { BulkPool } from './bulk-pool.ts'
import { type ReplyOrError, RespError } from './reply.ts'
import { MalformedReply, ReplyParser } from './reply-parser.ts'

/** What the chunks hold; each is overwritten once it was fed, as a receive buffer is. */
function parse(chunks: readonly Buffer[]): ReplyOrError[] {
  const replies: ReplyOrError[] = []
  const parser = new ReplyParser(new BulkPool(), reply => replies.push(reply))
  for (const chunk of chunks) {
    const borrowed = Buffer.from(chunk)
    parser.feed(borrowed)
    borrowed.fill(0xee)
  }
  return replies
}

const wire =
  '+OK\r\n-COLD 7\r\n:-42\r\n$-1\r\n*-1\r\n$0\r\n\r\n*0\r\n$5\r\n\r\n$3\r\r\n*3\r\n:1\r\n*2\r\n$1\r\nx\r\n-no\r\n$-1\r\n+\r\n'
const expected = [
  ...[Buffer.from('OK'), new RespError('COLD 7'), -42, null, null, Buffer.alloc(0), []],
  ...[Buffer.from('\r\n$3\r'), [1, [Buffer.from('x'), new RespError('no')], null], Buffer.alloc(0)],
]

test('replies come out whole wherever the stream is cut', () => {
  const bytes = Buffer.from(wire)
  deepEqual(parse([bytes]), expected)
  for (let cut = 1; cut < bytes.length; cut++) deepEqual(parse([bytes.subarray(0, cut), bytes.subarray(cut)]), expected)
  deepEqual(parse([...bytes].map(byte => Buffer.of(byte))), expected)
})

test('large values in pieces of any size', t => {
  const prng = seededPrng(t)
  const values = Array.from({ length: 12 }, () => prng.bytes(prng.below(300_000)))
  const stream = Buffer.concat(
    values.flatMap(value => [Buffer.from(`$${value.length}\r\n`), value, Buffer.from('\r\n')]),
  )
  const chunks: Buffer[] = []
  for (let at = 0; at < stream.length; ) {
    const end = at + 1 + prng.below(prng.chance(0.5) ? 100 : 200_000)
    chunks.push(stream.subarray(at, end))
    at = end
  }
  const replies = parse(chunks)
  equal(replies.length, values.length)
  for (const [index, value] of values.entries()) ok(value.equals(replies[index] as Buffer), `value ${index}`)
})

test('what is no reply is refused, and lengths before anything is allocated', () => {
  const bad = [
    ...['hello\r\n', '\r\n', ':1\n', ':x\r\n', ':1e9\r\n', ':99999999999999999\r\n', ':9999999999999999\r\n'],
    ...['$-2\r\n', '$8388609\r\n', '$2\r\nabc\r\n', '$1\r\na\rb', '*1048577\r\n', '*1\r\n'.repeat(5)],
    `+${'x'.repeat(70_000)}`,
  ]
  for (const bytes of bad) throws(() => parse([Buffer.from(bytes)]), MalformedReply, JSON.stringify(bytes.slice(0, 20)))
})
