import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatError } from './format.ts'
import { decodeManifest, encodeManifestHeader, encodeRecord, type ManifestRecord } from './manifest-format.ts'

const incarnation = Buffer.from('0123456789abcdef', 'hex')
const objectId = '00112233445566778899aabbccddeeff'

/** Each record with its bytes: CRC-32C, body length, type, body. */
const golden: readonly (readonly [ManifestRecord, string])[] = [
  [
    { type: 'settings', mode: 'sequential', public: true, worm: false, maxBytes: 4096, password: 'pw' },
    '524fe237 0e00 01 01 01 0200 0010000000000000 7077', // mode, flags, password length, quota, password
  ],
  [
    { type: 'opens', segmentId: 5, salt: 0xdecade01, previousEndBytes: 1000, nextId: 7 },
    '7f4a06c7 1400 02 05000000 01decade e8030000 0700000000000000', // segment, salt, end of the one before, next id
  ],
  [{ type: 'ends', segmentId: 4, endBytes: 900 }, '40485c6d 0800 03 04000000 84030000'],
  [{ type: 'synced', segmentId: 5, syncedBytes: 56 }, '9205a9e8 0800 04 05000000 38000000'],
  [{ type: 'closed', segmentId: 5, dataBytes: 79, salt: 0xdecade01 }, 'dd739196 0d00 05 05000000 4f000000 01decade 01'], // bytes, salt, marked
  [{ type: 'stored', segmentId: 5, objectId }, `5939d601 1400 06 05000000 ${objectId}`],
  [{ type: 'absent', segmentId: 5, objectId }, `b444dc0c 1400 07 05000000 ${objectId}`],
  [{ type: 'gone', segmentId: 5, objectId }, `5fdab847 1400 08 05000000 ${objectId}`],
  [{ type: 'deleted', segmentId: 5 }, '10994375 0400 09 05000000'],
  [{ type: 'dropping' }, '7e5e189d 0000 0a'],
  [{ type: 'flushed', incarnation: Buffer.from('fedcba9876543210', 'hex') }, 'e2448b50 0800 0b fedcba9876543210'],
  [{ type: 'point', epoch: 1, point: 58 }, '8e4b8155 1000 0c 0100000000000000 3a00000000000000'],
  [{ type: 'storing', segmentId: 5 }, 'a0270695 0400 0d 05000000'],
]

const header = Buffer.from('51534d31 01000000 0123456789abcdef a9c6bbe5'.replaceAll(' ', ''), 'hex') // "QSM1", version, incarnation, CRC
const file = Buffer.concat([header, ...golden.map(([, hex]) => Buffer.from(hex.replaceAll(' ', ''), 'hex'))])

test('golden: every record of a manifest, written and read', () => {
  assert.deepEqual(encodeManifestHeader(incarnation), header)
  for (const [record, hex] of golden)
    assert.equal(encodeRecord(record, incarnation).toString('hex'), hex.replaceAll(' ', ''), record.type)
  const read = decodeManifest(file)
  assert.deepEqual(
    read.records,
    golden.map(([record]) => record),
  )
  assert.equal(read.goodBytes, file.length)
})

test('a torn tail ends the list before it, wherever it is torn', () => {
  const ends = golden.map(
    (_, i) =>
      header.length + golden.slice(0, i + 1).reduce((sum, [, hex]) => sum + hex.replaceAll(' ', '').length / 2, 0),
  )
  for (let length = header.length; length <= file.length; length++) {
    const { records, goodBytes } = decodeManifest(Buffer.concat([file.subarray(0, length), Buffer.alloc(100, 0x5a)]))
    assert.equal(records.length, ends.filter(end => end <= length).length)
    assert.equal(goodBytes, ends[records.length - 1] ?? header.length)
  }
  assert.throws(() => decodeManifest(file.subarray(0, 19)), FormatError)
})

test('records of another manifest do not count', () => {
  const stray = encodeRecord({ type: 'dropping' }, Buffer.alloc(8))
  assert.deepEqual(decodeManifest(Buffer.concat([header, stray])).records, [])
})
