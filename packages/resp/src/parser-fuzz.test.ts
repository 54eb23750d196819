import { equal, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { BulkPool } from './bulk-pool.ts'
import { defaultLimits, MalformedRequest, type ParserLimits, RespParser } from './parser.ts'
import { type Meaning, meaningOf } from './testing/reference-parser.ts'

/** Small, so that short inputs reach them. */
const smallLimits: ParserLimits = { argumentsMax: 6, bulkBytesMax: 300, commandBytesMax: 500, lineBytesMax: 40 }

/** Counts what the parser asks memory for. */
class CountingPool extends BulkPool {
  takenBytes = 0
  largestBytes = 0

  override take(lengthBytes: number): Buffer {
    this.takenBytes += lengthBytes
    this.largestBytes = Math.max(this.largestBytes, lengthBytes)
    return super.take(lengthBytes)
  }
}

/** Feeds the stream in pieces as a connection does, some of them out of a buffer that is written again. */
function parse(stream: Buffer, limits: ParserLimits, pool: CountingPool, prng: Prng): Meaning {
  const parser = new RespParser(limits, pool)
  const commands: Buffer[][] = []
  const pieceBytesMax = prng.pick([1, 3, 20, 200, 10_000, 100_000])
  const isBorrowed = prng.chance(0.5)
  try {
    for (let at = 0; at < stream.length; ) {
      const piece = Buffer.from(stream.subarray(at, at + 1 + prng.below(pieceBytesMax)))
      at += piece.length
      if (isBorrowed) parser.feedBorrowed(piece)
      else parser.feed(piece)
      // Sometimes it is not asked until more has come, as for a connection that waits.
      const isAsked = at >= stream.length || prng.chance(0.8)
      while (isAsked) {
        const command = parser.next()
        if (command === null) break
        commands.push(command)
      }
      if (isBorrowed) {
        parser.keep()
        piece.fill(0xee)
      }
    }
    return { commands, end: 'waits' }
  } catch (error) {
    if (!(error instanceof MalformedRequest)) throw error
    equal(parser.next(), null)
    return { commands, end: { refusal: error.reply } }
  }
}

function check(stream: Buffer, limits: ParserLimits, prng: Prng): Meaning {
  const pool = new CountingPool()
  const seen = parse(stream, limits, pool, prng)
  const expected = meaningOf(stream, limits)
  const shown = () => `${JSON.stringify(stream.toString('latin1').slice(0, 500))}, seed ${prng.seed}`
  if (!isSame(seen, expected)) equal(show(seen), show(expected), shown())
  ok(pool.largestBytes <= limits.bulkBytesMax, shown())
  // Whatever it took was filled by the stream, but for one bulk that waits.
  ok(pool.takenBytes <= stream.length + limits.bulkBytesMax, shown())
  return expected
}

function isSame(one: Meaning, other: Meaning): boolean {
  if (JSON.stringify(one.end) !== JSON.stringify(other.end) || one.commands.length !== other.commands.length)
    return false
  return one.commands.every((command, index) => {
    const counterpart = other.commands[index]!
    return command.length === counterpart.length && command.every((bytes, place) => bytes.equals(counterpart[place]!))
  })
}

function show({ commands, end }: Meaning): string {
  return JSON.stringify([commands.map(command => command.map(bytes => bytes.toString('latin1'))), end])
}

/** Commands that make sense, some of them inline. */
function goodStream(prng: Prng, bulkBytesMax: number, commandCountMax = 4): Buffer {
  const parts: Buffer[] = []
  for (let count = prng.below(commandCountMax); count >= 0; count--) {
    if (prng.chance(0.2)) {
      parts.push(
        Buffer.from(
          prng.pick([
            'PING\r\n',
            'get a\n',
            ' SET  k v \r\n'.trimStart(),
            'x\r\n',
            'A\t\0b\r\n',
            'a:\r\n',
            'b\r\n\r\n',
          ]),
        ),
      )
      continue
    }
    const bulks = Array.from({ length: 1 + prng.below(4) }, () =>
      prng.bytes(prng.below(prng.pick([3, 30, bulkBytesMax]))),
    )
    const lineEnd = prng.chance(0.9) ? '\r\n' : '\n'
    parts.push(Buffer.from(`*${bulks.length}${lineEnd}`))
    for (const bulk of bulks) parts.push(Buffer.from(`$${bulk.length}${lineEnd}`), bulk, Buffer.from('\r\n'))
  }
  return Buffer.concat(parts)
}

const numbers = [
  '0',
  '-1',
  '+2',
  ' 1',
  '1x',
  '',
  '007',
  '1e9',
  '300',
  '301',
  '1025',
  '8388609',
  '2147483648',
  '4294967297',
]
const hugeNumbers = ['9007199254740993', '18446744073709551616', '9'.repeat(30), `-${'9'.repeat(30)}`, '\t-0', '--1']

const mutations: readonly ((stream: Buffer, prng: Prng) => Buffer)[] = [
  stream => stream,
  (stream, prng) => stream.subarray(0, prng.below(stream.length + 1)),
  (stream, prng) => {
    for (let count = 1 + prng.below(3); count > 0; count--) stream[prng.below(stream.length)]! ^= 1 << prng.below(8)
    return stream
  },
  (stream, prng) => {
    const at = prng.below(stream.length)
    return Buffer.concat([stream.subarray(0, at), stream.subarray(at + 1 + prng.below(4))])
  },
  (stream, prng) => {
    const at = prng.below(stream.length)
    return Buffer.concat([stream.subarray(0, at), prng.bytes(1 + prng.below(4)), stream.subarray(at)])
  },
  // Another number somewhere, and absurd ones.
  (stream, prng) => {
    const digits = [...stream.toString('latin1').matchAll(/(?<=[*$])\d+(?=\r?\n)/g)]
    if (digits.length === 0) return stream
    const { index, 0: found } = prng.pick(digits)
    const other = Buffer.from(prng.pick([...numbers, ...hugeNumbers]))
    return Buffer.concat([stream.subarray(0, index), other, stream.subarray(index + found.length)])
  },
]

test('52,000 damaged streams mean to the parser what they mean to a slow and simple one', t => {
  const prng = seededPrng(t)
  const ends = { waits: 0, refused: 0, commands: 0 }
  const take = ({ commands, end }: Meaning) => {
    ends[end === 'waits' ? 'waits' : 'refused']++
    ends.commands += commands.length
  }
  for (let round = 0; round < 40_000; round++)
    take(check(prng.pick(mutations)(goodStream(prng, 320), prng), smallLimits, prng))
  const alphabet = [...Buffer.from('*$\r\n\n0123456789-+ PINGx\0\xff', 'latin1')]
  for (let round = 0; round < 12_000; round++) {
    const noise = prng.chance(0.5) ? prng.bytes(prng.below(60)) : Buffer.alloc(prng.below(60))
    const isText = prng.chance(0.8)
    for (let index = 0; isText && index < noise.length; index++) noise[index] = prng.pick(alphabet)
    if (noise.length > 0 && prng.chance(0.7)) noise[0] = 0x2a
    take(check(noise, smallLimits, prng))
  }
  for (let round = 0; round < 300; round++)
    take(check(prng.pick(mutations)(goodStream(prng, 20_000), prng), defaultLimits, prng))
  // Many small commands in large pieces: these are the ones that are not copied.
  for (let round = 0; round < 300; round++)
    take(check(prng.pick(mutations)(goodStream(prng, 30, 1000), prng), defaultLimits, prng))
  t.diagnostic(JSON.stringify(ends))
  ok(ends.waits > 5000 && ends.refused > 5000 && ends.commands > 20_000)
})
