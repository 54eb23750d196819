import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { BulkPool } from './bulk-pool.ts'
import { ReplyEncoder } from './encoder.ts'
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

/** Replies as far as they come, then why none comes any more. */
function parseUntilRefused(chunks: readonly Buffer[]): unknown[] {
  const seen: unknown[] = []
  const parser = new ReplyParser(new BulkPool(), reply => seen.push(reply))
  try {
    for (const chunk of chunks) {
      const borrowed = Buffer.from(chunk)
      parser.feed(borrowed)
      borrowed.fill(0xee)
    }
  } catch (error) {
    if (!(error instanceof MalformedReply)) throw error
    seen.push(error.message)
  }
  return seen
}

function randomReply(prng: Prng, depth = 0): ReplyOrError {
  const kind = prng.below(depth < 3 ? 6 : 4)
  if (kind === 0) return prng.below(2 ** 32) - 2 ** 31
  if (kind === 1) return null
  if (kind === 2) return new RespError(`no ${prng.below(100)}`)
  if (kind === 3) return prng.bytes(prng.below(prng.pick([2, 40, 3000])))
  return Array.from({ length: prng.below(5) }, () => randomReply(prng, depth + 1))
}

test('10,000 streams of replies, half of them damaged: what was encoded comes out, however the stream is cut', t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 10_000; round++) {
    const replies = Array.from({ length: 1 + prng.below(4) }, () => randomReply(prng))
    const encoder = new ReplyEncoder()
    for (const reply of replies) encoder.push(reply)
    const stream = Buffer.concat(encoder.take())
    const isDamaged = prng.chance(0.5)
    if (isDamaged)
      stream[prng.below(stream.length)] = prng.chance(0.5)
        ? prng.below(256)
        : prng.pick([...'$*:+-\r\n0129']).charCodeAt(0)
    const chunks: Buffer[] = []
    for (let at = 0; at < stream.length; at += chunks.at(-1)!.length)
      chunks.push(stream.subarray(at, at + 1 + prng.below(prng.pick([2, 20, 4000]))))
    const seen = parseUntilRefused(chunks)
    deepEqual(seen, isDamaged ? parseUntilRefused([stream]) : replies)
  }
})
