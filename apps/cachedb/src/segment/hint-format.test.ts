import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatError } from './format.ts'
import { decodeHint, encodeHint, HintCursor, HintEntries, hintRecords } from './hint-format.ts'

const incarnation = Buffer.from('0123456789abcdef', 'hex')
const identity = { segmentId: 5, salt: 0xdecade01, incarnation, dataBytes: 79, firstId: 2, nextId: 3 }
const key = Buffer.from('hello')
const records = [
  {
    key,
    offsetBytes: 28,
    valueBytes: 5,
    valueCrc: 0x74d8f77b,
    timestampSeconds: 1700000000,
    tombstone: null,
    copied: false,
  },
  {
    key,
    offsetBytes: 56,
    valueBytes: 0,
    valueCrc: 0,
    timestampSeconds: 1700000003,
    tombstone: { killsOne: false, originSegmentId: 5 },
    copied: true,
  },
]

function hintFile(): Buffer {
  const entries = new HintEntries()
  for (const record of records) entries.add(record)
  return Buffer.concat(encodeHint(identity, entries))
}

test('golden: the hint of a segment with a value and a deletion', () => {
  const golden = [
    '51534831', // magic "QSH1"
    '01000000', // version 1
    '0123456789abcdef', // incarnation
    '05000000', // segment 5
    '01decade', // salt
    '01000000', // marked: its entries carry the check
    '4f000000', // 79 bytes of data
    '0200000000000000', // first id
    '0300000000000000', // next id
    '02000000', // 2 entries
    '3600000000000000', // 54 bytes of entries
    '70b7495d', // CRC-32C of the entries
    '00000000', // reserved
    '3a9010f3', // CRC-32C of the 68 bytes before
    '05 00 1c000000 05000000 7bf7d874 00f15365 00000000 68656c6c6f', // key length, flags, offset, value length, value CRC, time, origin, "hello"
    '05 05 38000000 00000000 00000000 03f15365 05000000 68656c6c6f', // a copied deletion, needed while a segment older than 5 exists
  ].join('')
  assert.equal(hintFile().toString('hex'), golden.replaceAll(' ', ''))
  const { entries, entryCount, ...read } = decodeHint(hintFile())
  assert.deepEqual(read, identity)
  assert.equal(entryCount, 2)
  assert.deepEqual(
    [...hintRecords(entries)].map(({ nextAt: _, ...record }) => ({ ...record, key: Buffer.from(record.key) })),
    records,
  )
})

test('a hint with any byte changed, or cut, is refused', () => {
  const good = hintFile()
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good)
    bad[at]! ^= 0x10
    assert.throws(() => decodeHint(bad), FormatError, `byte ${at}`)
    assert.throws(() => decodeHint(good.subarray(0, at)), FormatError, `cut at ${at}`)
  }
})

test('a cursor stands on the same entries', () => {
  const { entries } = decodeHint(hintFile())
  const cursor = new HintCursor(entries)
  for (const { key, tombstone, copied, ...fields } of records) {
    assert(cursor.next())
    const { keyAt, keyBytes, offsetBytes, valueBytes, valueCrc, timestampSeconds, isNewValue } = cursor
    assert.deepEqual({ offsetBytes, valueBytes, valueCrc, timestampSeconds }, fields)
    assert.equal(cursor.bytes.toString('latin1', keyAt, keyAt + keyBytes), String(key))
    assert.equal(isNewValue, tombstone === null && !copied)
    assert.deepEqual({ ...cursor.record, key: Buffer.from(cursor.record.key) }, { key, tombstone, copied, ...fields })
  }
  assert(!cursor.next())
  const cut = new HintCursor(entries.subarray(0, entries.length - 1))
  assert(cut.next())
  assert.throws(() => cut.next(), FormatError)
})
