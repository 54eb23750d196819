import assert from 'node:assert/strict'
import { test } from 'node:test'
import { layout } from './layout.ts'

const Sample = layout('sample', 40, {
  kind: [0, 'u8'],
  flags: [1, 'u8'],
  words: [2, 'u16'],
  count: [4, 'u32'],
  node: [8, 'u53'],
  offset: [16, 'i53'],
  unique: [24, 'u64'],
  delta: [32, 'i32'],
  magic: [36, 'bytes', 4],
})

const values = {
  kind: 0x7f,
  flags: 1,
  words: 0x1234,
  count: 0xdeadbeef,
  node: 0x1f_ffff_ffff_ffff,
  offset: -2,
  unique: 0x8000_0000_0000_0001n,
  delta: -5,
  magic: Buffer.from('QSF1'),
}

test('bytes lie where the table says, little-endian', () => {
  const expected = [
    '7f', // kind
    '01', // flags
    '3412', // words
    'efbeadde', // count
    'ffffffffffff1f00', // node
    'feffffffffffffff', // offset -2
    '0100000000000080', // unique
    'fbffffff', // delta -5
    '51534631', // "QSF1"
  ].join('')
  assert.equal(Sample.toBuffer(values).toString('hex'), expected)
  assert.deepEqual(Sample.decode(Buffer.from(expected, 'hex')), values)
})

test('a layout reads and writes at an offset', () => {
  const buffer = Buffer.alloc(50)
  Sample.encode(values, buffer, 7)
  assert.deepEqual(Sample.decode(buffer, 7), values)
  assert.equal(buffer[6], 0)
  assert.equal(buffer[47], 0)
})

test('numbers that are no safe integers are refused both ways', () => {
  const Wide = layout('wide', 16, { plus: [0, 'u53'], minus: [8, 'i53'] })
  const good = Wide.toBuffer({ plus: Number.MAX_SAFE_INTEGER, minus: Number.MIN_SAFE_INTEGER })
  assert.deepEqual(Wide.decode(good), { plus: Number.MAX_SAFE_INTEGER, minus: Number.MIN_SAFE_INTEGER })
  assert.throws(() => Wide.decode(Buffer.from('00000000000020000000000000000000', 'hex')), RangeError)
  assert.throws(() => Wide.decode(Buffer.from('00000000000000000000000000000080', 'hex')), RangeError)
  for (const plus of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => Wide.toBuffer({ plus, minus: 0 }), RangeError)
  assert.throws(() => Wide.toBuffer({ plus: 0, minus: 1.5 }), RangeError)
})

test('what does not fit is refused', () => {
  assert.throws(() => Sample.toBuffer({ ...values, kind: 256 }), RangeError)
  assert.throws(() => Sample.toBuffer({ ...values, magic: Buffer.from('QS') }), /magic has 2 bytes, not 4/)
  assert.throws(() => Sample.decode(Buffer.alloc(39)), /sample needs 40 bytes, 39 are there/)
  assert.throws(() => Sample.decode(Buffer.alloc(40), -1), RangeError)
  assert.throws(() => Sample.encode(values, Buffer.alloc(44), 5), RangeError)
})

test('gaps, overlaps and wrong sizes are found when the table is loaded', () => {
  assert.throws(() => layout('gap', 12, { a: [0, 'u32'], b: [8, 'u32'] }), /gap from 4 to b at 8/)
  assert.throws(() => layout('overlap', 6, { a: [0, 'u32'], b: [2, 'u32'] }), /overlaps/)
  assert.throws(() => layout('short', 16, { a: [0, 'u64'] }), /8 bytes long, not 16/)
  assert.throws(() => layout('name', 1, { 'a-b': [0, 'u8'] }), /camelCase/)
})
