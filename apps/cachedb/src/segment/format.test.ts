import assert from 'node:assert/strict'
import { test } from 'node:test'
import { zdbCrc } from '@qsfs/bytes/checksum'
import { seededPrng } from '@qsfs/testkit/prng'
import { decodeEntry, decodeFileHeader, type Entry, encodeEntryHead, encodeFileHeader, FormatError } from './format.ts'
import { scanEntries } from './recover.ts'

const salt = 0xdecade01
const incarnation = Buffer.from('0123456789abcdef', 'hex')
const hex = (...fields: string[]) => Buffer.from(fields.join('').replaceAll(' ', ''), 'hex')

/** A file in memory, as a scan reads it. */
function fileOf(bytes: Buffer) {
  return { sizeBytes: bytes.length, readSync: (at: number, length: number) => bytes.subarray(at, at + length) }
}

function scan(
  bytes: Buffer,
  fileSalt: number | null,
  bounds: { syncedBytes: number; endBytes?: number } = { syncedBytes: 0 },
) {
  const entries: Entry[] = []
  const result = scanEntries(fileOf(bytes), fileSalt, bounds, entry => entries.push(entry))
  return { ...result, entries }
}

function entry(key: string, value: Buffer, offsetBytes: number, deleted = false): Buffer {
  const fields = { valueBytes: value.length, valueCrc: zdbCrc(value), deleted, timestampSeconds: 1700000000 }
  return Buffer.concat([encodeEntryHead(Buffer.from(key), fields, { salt, offsetBytes }), value])
}

function segment(...values: readonly (readonly [string, Buffer])[]): Buffer {
  let bytes: Buffer = encodeFileHeader({ segmentId: 5, salt, incarnation })
  for (const [key, value] of values) bytes = Buffer.concat([bytes, entry(key, value, bytes.length)])
  return bytes
}

test('golden: header, value and deletion of a segment of ours', () => {
  const golden = hex(
    '44415430', // magic "DAT0"
    '03000000', // version 3
    '51534631', // mark "QSF1" } 0-db's
    '01decade', // salt        } "created"
    '0123456789abcdef', // incarnation: 0-db's "opened"
    '05000000', // file id 5
    '05', // key length
    '05000000', // value length
    '13635666', // check: CRC-32C over salt, offset 28, the 14 other bytes of this header, key
    '7bf7d874', // 0-db's CRC of "world"
    '00', // flags
    '00f15365', // timestamp 1700000000
    '68656c6c6f', // "hello"
    '776f726c64', // "world"
    '05 00000000 b1c6294b 00000000 01 03f15365 68656c6c6f', // deletion at 56: no value, CRC 0, flags 1
    '01 01000000 fa681403 c20c41fb 04 00f15365 6b 78', // k = x at 79, copied from another segment: flags 4
  )
  const value = Buffer.from('world')
  const deletion = { valueBytes: 0, valueCrc: 0, deleted: true, timestampSeconds: 1700000003 }
  const copy = {
    valueBytes: 1,
    valueCrc: zdbCrc(Buffer.from('x')),
    deleted: false,
    copied: true,
    timestampSeconds: 1700000000,
  }
  const made = Buffer.concat([
    segment(['hello', value]),
    encodeEntryHead(Buffer.from('hello'), deletion, { salt, offsetBytes: 56 }),
    encodeEntryHead(Buffer.from('k'), copy, { salt, offsetBytes: 79 }),
    Buffer.from('x'),
  ])
  assert.equal(made.toString('hex'), golden.toString('hex'))
  assert.deepEqual(decodeFileHeader(golden), { segmentId: 5, salt, incarnation })
  const { entries, goodBytes } = scan(golden, salt)
  assert.equal(goodBytes, golden.length)
  assert.deepEqual(
    entries.map(({ key, value, deleted, copied, offsetBytes }) => [
      String(key),
      String(value),
      deleted,
      copied,
      offsetBytes,
    ]),
    [
      ['hello', 'world', false, false, 28],
      ['hello', '', true, false, 56],
      ['k', 'x', false, true, 79],
    ],
  )
})

test('golden: what 0-db 2.0.7 wrote, user mode and sequential', () => {
  const user = hex(
    '44415430 03000000 0000000000000000 0000000000000000 00000000', // DAT0, v3, created, opened, file 0
    '05 05000000 00000000 7bf7d874 00 00f15365 68656c6c6f 776f726c64', // hello = world, previous 0
    '05 06000000 1c000000 c0b10bee 00 01f15365 68656c6c6f 574f524c4432', // hello = WORLD2, previous 0x1c
    '01 00000000 38000000 00000000 00 02f15365 6b', // k = empty
    '05 00000000 55000000 00000000 01 03f15365 68656c6c6f', // hello deleted
  )
  assert.equal(user.length, 127)
  assert.equal(decodeFileHeader(user).salt, null)
  const shown = (bytes: Buffer) =>
    scan(bytes, null).entries.map(({ key, value, deleted, timestampSeconds }) => [
      key.toString('latin1'),
      String(value),
      deleted,
      timestampSeconds,
    ])
  assert.deepEqual(shown(user), [
    ['hello', 'world', false, 1700000000],
    ['hello', 'WORLD2', false, 1700000001],
    ['k', '', false, 1700000002],
    ['hello', '', true, 1700000003],
  ])
  const next = hex(
    '44415430 03000000 0000000000000000 0000000000000000 01000000',
    '01 01000000 68000000 c20c41fb 00 04f15365 6b 78', // previous points into d0
    '01 02000000 1c000000 7df3952b 00 05f15365 6e 797a',
  )
  assert.equal(next.length, 69)
  assert.deepEqual(
    shown(next).map(([key, value]) => [key, value]),
    [
      ['k', 'x'],
      ['n', 'yz'],
    ],
  )
  const sequential = hex(
    '44415430 03000000 0000000000000000 0000000000000000 00000000',
    '08 04000000 00000000 b0bcb366 00 00f15365 0000000000000000 7a65726f',
    '08 03000000 1c000000 9311f04a 00 01f15365 0100000000000000 6f6e65',
    '08 05000000 3a000000 f941e931 00 02f15365 0000000000000000 5a45524f32',
    '08 05000000 57000000 89273659 00 03f15365 0300000000000000 7468726565',
    '08 00000000 76000000 00000000 01 04f15365 0100000000000000',
  )
  assert.equal(sequential.length, 175)
  assert.deepEqual(
    scan(sequential, null).entries.map(({ key, value }) => [key.readUInt32LE(0), String(value)]),
    [
      [0, 'zero'],
      [1, 'one'],
      [0, 'ZERO2'],
      [3, 'three'],
      [1, ''],
    ],
  )
})

test('a file that is no data file is refused', () => {
  const good = segment()
  assert.throws(() => decodeFileHeader(good.subarray(0, 27)), FormatError)
  for (const at of [0, 3, 4]) {
    const bad = Buffer.from(good)
    bad[at]! ^= 1
    assert.throws(() => decodeFileHeader(bad), FormatError)
  }
})

test('a tail torn at any byte is cut at the entry it tears', t => {
  const prng = seededPrng(t)
  // No value ends in a zero: the zeros below would put back what was torn off.
  const value = (sizeBytes: number) => Buffer.concat([prng.bytes(sizeBytes), Buffer.from([1])])
  const whole = segment(['a', value(40)], ['bb', Buffer.alloc(0)], ['ccc', value(60)])
  const ends = scan(whole, salt).entries.map(({ offsetBytes, lengthBytes }) => offsetBytes + lengthBytes)
  for (let length = 28; length <= whole.length; length++) {
    const kept = ends.filter(end => end <= length)
    const expected = kept.at(-1) ?? 28
    assert.equal(scan(whole.subarray(0, length), salt).goodBytes, expected)
    // A file that grew, its last pages never written: zeros would be perfect 0-db entries.
    assert.equal(scan(Buffer.concat([whole.subarray(0, length), Buffer.alloc(5_000)]), salt).goodBytes, expected)
  }
})

test('damage in synced bytes takes only its entries; beyond them it ends the segment', t => {
  const prng = seededPrng(t)
  const values = Array.from({ length: 12 }, (_, i) => [`key${i}`, prng.bytes(prng.below(300))] as const)
  const whole = segment(...values)
  const all = scan(whole, salt).entries.map(({ offsetBytes, lengthBytes }) => ({
    offsetBytes,
    end: offsetBytes + lengthBytes,
  }))
  for (let round = 0; round < 400; round++) {
    const bad = Buffer.from(whole)
    const at = 28 + prng.below(whole.length - 28)
    bad[at]! ^= 1 << prng.below(8)
    const hit = all.findIndex(({ end }) => at < end)
    const { entries, damage, goodBytes } = scan(bad, salt, { syncedBytes: whole.length })
    assert.deepEqual(
      entries.map(({ offsetBytes }) => offsetBytes),
      all.filter((_, i) => i !== hit).map(({ offsetBytes }) => offsetBytes),
    )
    assert.deepEqual(damage, [{ fromBytes: all[hit]!.offsetBytes, toBytes: all[hit]!.end }])
    assert.equal(goodBytes, whole.length)
    assert.equal(scan(bad, salt).goodBytes, all[hit]!.offsetBytes)
  }
})

test('an entry is good at one place of one file only', t => {
  const prng = seededPrng(t)
  const value = prng.bytes(100)
  const bytes = entry('key', value, 1000)
  assert(decodeEntry(bytes, 0, { salt, offsetBytes: 1000 })?.value.equals(value))
  assert.equal(decodeEntry(bytes, 0, { salt, offsetBytes: 1001 }), null)
  assert.equal(decodeEntry(bytes, 0, { salt: salt + 1, offsetBytes: 1000 }), null)
  assert.equal(decodeEntry(Buffer.alloc(100), 0, { salt: null, offsetBytes: 28 }), null)
})
