import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { defaultLimits, MalformedRequest, RespParser } from './parser.ts'

/** Feeds chunks and collects every command; a malformed request becomes its last element. */
function parse(chunks: readonly Buffer[], parser = new RespParser()): (string[] | { error: string | null })[] {
  const found: (string[] | { error: string | null })[] = []
  for (const chunk of chunks) {
    parser.feed(chunk)
    try {
      for (let command = parser.next(); command; command = parser.next()) {
        found.push(command.map(argument => argument.toString('latin1')))
      }
    } catch (error) {
      ok(error instanceof MalformedRequest, String(error))
      found.push({ error: error.reply })
    }
  }
  return found
}

/** The same through one buffer that is written again and again, as a socket's is. */
function parseBorrowed(chunks: readonly Buffer[]): (string[] | { error: string | null })[] {
  const parser = new RespParser()
  const shared = Buffer.alloc(64 * 1024)
  const commands: Buffer[][] = []
  let failed: { error: string | null } | null = null
  for (const chunk of chunks) {
    chunk.copy(shared)
    parser.feedBorrowed(shared.subarray(0, chunk.length))
    try {
      for (let command = parser.next(); command; command = parser.next()) commands.push(command)
    } catch (error) {
      ok(error instanceof MalformedRequest, String(error))
      failed = { error: error.reply }
    }
    parser.keep()
    shared.fill(0xee)
  }
  const shown = commands.map(command => command.map(argument => argument.toString('latin1')))
  return failed ? [...shown, failed] : shown
}

function splitAtRandom(prng: Prng, bytes: Buffer): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + prng.below(prng.chance(0.3) ? 3 : 40)
    chunks.push(bytes.subarray(at, at + length))
    at += length
  }
  return chunks
}

function encode(args: readonly Buffer[]): Buffer {
  const parts = args.flatMap(argument => [Buffer.from(`$${argument.length}\r\n`), argument, Buffer.from('\r\n')])
  return Buffer.concat([Buffer.from(`*${args.length}\r\n`), ...parts])
}

// The table of 0-db's specification, section 5.1, and the numbers around each limit.
const frames: readonly [string, string | Buffer, ReturnType<typeof parse>][] = [
  ['array of bulks', '*2\r\n$3\r\nGET\r\n$1\r\nk\r\n', [['GET', 'k']]],
  ['two commands in one chunk', '*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nTIME\r\n', [['PING'], ['TIME']]],
  ['empty argument', '*2\r\n$3\r\nGET\r\n$0\r\n\r\n', [['GET', '']]],
  ['lone line feeds in headers', '*2\n$3\nGET\r\n$1\nk\r\n', [['GET', 'k']]],
  ['trailer bytes are skipped, not checked', '*1\r\n$4\r\nPINGxy*1\r\n$4\r\nTIME\r\n', [['PING'], ['TIME']]],
  ['a number is its leading digits', '*1abc\r\n$4 bytes\r\nPING\r\n', [['PING']]],
  ['garbage length is 0', '*2\r\n$3\r\nGET\r\n$x\r\n\r\n', [['GET', '']]],
  ['inline', 'GET  key one\r\n', [['GET', 'key', 'one']]],
  ['inline with a lone line feed', 'ping\n', [['ping']]],
  ['first byte is no array', '+1\r\n', [{ error: 'Malformed request, array expected' }]],
  ['first byte is a number', '1\r\n', [{ error: 'Malformed request, array expected' }]],
  ['first byte is a bulk', '$4\r\nPING\r\n', [{ error: 'Malformed request, array expected' }]],
  ['an empty line', '\r\n', [{ error: 'Malformed request, array expected' }]],
  ['an empty line behind an array', '*1\r\n$4\r\nPING\r\n\r\n*1\r\n$4\r\nTIME\r\n', [['PING'], ['TIME']]],
  ['an empty line behind an inline command', 'PING\r\n\nTIME\r\n', [['PING'], ['TIME']]],
  ['two empty lines', 'PING\r\n\r\n\r\n', [['PING'], { error: 'Malformed request, array expected' }]],
  [
    'no empty line, though it begins as one',
    'PING\r\n\rGET\n',
    [['PING'], { error: 'Malformed request, array expected' }],
  ],
  [
    'what a browser posts',
    'POST / HTTP/1.1\r\nHost: here\r\n\r\nSET k v\r\n',
    [['POST', '/', 'HTTP/1.1'], ['Host:', 'here'], { error: 'Malformed request, array expected' }],
  ],
  ['array length 0', '*0\r\n', [{ error: 'Missing arguments' }]],
  ['array length not a number', '*x\r\n', [{ error: 'Missing arguments' }]],
  ['array length 1025', '*1025\r\n', [{ error: 'Too many arguments' }]],
  ['array length beyond 64 bits', '*99999999999999999999999\r\n', [{ error: 'Too many arguments' }]],
  ['array length negative', '*-1\r\n', [{ error: 'Internal memory error' }]],
  ['nested array', '*1\r\n*1\r\n$4\r\nPING\r\n', [{ error: 'Malformed query string' }]],
  ['argument is an integer', '*2\r\n$3\r\nGET\r\n:1\r\n', [{ error: 'Malformed query string' }]],
  ['argument length negative', '*1\r\n$-1\r\n', [{ error: 'Malformed query string' }]],
  ['argument over 8 MiB', '*1\r\n$8388609\r\n', [{ error: 'Payload too big' }]],
  [
    'inline with quotes',
    'SET key "two words"\r\n',
    [{ error: 'Malformed request, an inline command takes no quotes' }],
  ],
  ['inline with too many words', `${'a '.repeat(1025)}\r\n`, [{ error: 'Too many arguments' }]],
  ['8,192 bytes of header without an end', `*${'1'.repeat(8191)}`, [{ error: null }]],
  ['8,192 bytes of inline without an end', 'a'.repeat(8192), [{ error: null }]],
  ['a good command before a bad one', 'PING\r\n*0\r\n', [['PING'], { error: 'Missing arguments' }]],
]

for (const [name, bytes, expected] of frames) {
  test(`${name}, whole and byte by byte`, () => {
    const whole = Buffer.from(bytes)
    deepEqual(parse([whole]), expected)
    deepEqual(parseBorrowed([whole]), expected)
    deepEqual(parse(Array.from(whole, byte => Buffer.of(byte))), expected)
  })
}

test('1,024 arguments and 8,388,608 bytes are allowed', () => {
  const names = Array.from({ length: 1024 }, (_, index) => Buffer.from(`k${index}`))
  deepEqual(parse([encode(names)]), [names.map(String)])
  const parser = new RespParser()
  parser.feed(encode([Buffer.from('SET'), Buffer.from('k'), Buffer.alloc(8 * 1024 * 1024, 0x42)]))
  const [, , value] = parser.next()!
  ok(value!.equals(Buffer.alloc(8 * 1024 * 1024, 0x42)))
})

test('the bulks of one command have a limit together', () => {
  const parser = new RespParser({ ...defaultLimits, bulkBytesMax: 10, commandBytesMax: 25 })
  parser.feed(Buffer.from('*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$6\r\n'))
  throws(
    () => parser.next(),
    (error: unknown) => error instanceof MalformedRequest && error.reply === 'Payload too big',
  )
})

test('a failed parser stays silent', () => {
  const parser = new RespParser()
  parser.feed(Buffer.from('*0\r\nPING\r\n'))
  throws(() => parser.next(), MalformedRequest)
  equal(parser.next(), null)
  parser.feed(Buffer.from('PING\r\n'))
  equal(parser.next(), null)
})

test('a small argument is a view of its chunk; one over two chunks has its own memory', () => {
  const parser = new RespParser()
  const first = Buffer.from('*2\r\n$3\r\nGET\r\n$6\r\nabc')
  parser.feed(first)
  equal(parser.next(), null)
  parser.feed(Buffer.from('def\r\n'))
  const [name, key] = parser.next()!
  equal(name!.buffer, first.buffer)
  equal(key!.toString(), 'abcdef')
  equal(key!.buffer.byteLength, 6)
})

test('the split points of the stream change nothing', t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 300; round++) {
    const commands = Array.from({ length: 1 + prng.below(5) }, () =>
      Array.from({ length: 1 + prng.below(4) }, () => prng.bytes(prng.below(prng.chance(0.1) ? 400 : 12))),
    )
    const stream = Buffer.concat(commands.map(encode))
    const expected = commands.map(command => command.map(argument => argument.toString('latin1')))
    deepEqual(parse(splitAtRandom(prng, stream)), expected)
    const cut = stream.subarray(0, prng.below(stream.length))
    deepEqual(parse(splitAtRandom(prng, cut)), parse([cut]))
  }
})

test('arguments out of a buffer that is written again stay what they were', t => {
  const prng = seededPrng(t)
  for (let round = 0; round < 100; round++) {
    const commands = Array.from({ length: 1 + prng.below(6) }, () =>
      Array.from({ length: 1 + prng.below(3) }, () => prng.bytes(prng.below(prng.pick([10, 300, 20_000, 60_000])))),
    )
    const stream = Buffer.concat(commands.map(encode))
    const chunks: Buffer[] = []
    for (let at = 0; at < stream.length; at = at + (chunks.at(-1)?.length ?? 0)) {
      chunks.push(stream.subarray(at, at + 1 + prng.below(prng.pick([100, 5000, 64 * 1024]))))
    }
    const expected = commands.map(command => command.map(argument => argument.toString('latin1')))
    deepEqual(parseBorrowed(chunks), expected)
  }
})
