import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freshDescriptor, sequentialNamespace, userNamespace, vaultDescriptor } from '../../../test/zdb/golden.ts'
import { FormatError } from '../format.ts'
import { decodeDescriptor, encodeDescriptor } from './descriptor-format.ts'
import { decodeIndexHeader, encodeIndexHeader, indexEntries } from './index-format.ts'

const fresh = { maxBytes: 0, public: true, worm: false, password: '' }

test('golden: index files of 0-db 2.0.7', () => {
  const shown = (file: Buffer) =>
    [...indexEntries(file)].map(({ at, key, isDead, dataId, offsetBytes }) => [at, key[0], isDead, dataId, offsetBytes])
  const [h, k, n] = [...Buffer.from('hkn')]
  assert.deepEqual(shown(userNamespace.i0), [
    [0x1d, h, true, 0, 0x1c],
    [0x44, h, true, 0, 0x38],
    [0x6b, k, true, 0, 0x55],
  ])
  // The second one says data id 0 on disk: the file it lies in is right.
  assert.deepEqual(shown(userNamespace.i1), [
    [0x1d, k, false, 1, 0x1c],
    [0x40, n, false, 1, 0x30],
  ])
  assert.deepEqual(
    shown(sequentialNamespace.i0).map(([at, , isDead]) => [at, isDead]),
    [
      [0x1d, false],
      [0x47, true],
      [0x71, true],
      [0x9b, false],
    ],
  )
  assert.deepEqual(encodeIndexHeader(1, 'user'), userNamespace.i1.subarray(0, 29))
  assert.deepEqual(encodeIndexHeader(0, 'sequential'), sequentialNamespace.i0.subarray(0, 29))
})

test('golden: descriptors of 0-db 2.0.7', () => {
  assert.deepEqual(decodeDescriptor(freshDescriptor), fresh)
  assert.deepEqual(encodeDescriptor('default', fresh), freshDescriptor)
  const vault = { maxBytes: 10_000, public: false, worm: true, password: 'secret' }
  assert.deepEqual(decodeDescriptor(vaultDescriptor), vault)
  assert.deepEqual(encodeDescriptor('vault', vault), vaultDescriptor.subarray(0, 15 + 5 + 6))
  assert.equal(decodeDescriptor(encodeDescriptor('é', { ...fresh, password: '\xff\x00' })).password, '\xff\x00')
})

test('a descriptor that is torn or of another version opens nothing to everybody', () => {
  for (let length = 0; length < 15 + 5 + 6; length++)
    assert.throws(() => decodeDescriptor(vaultDescriptor.subarray(0, length)), FormatError)
  const other = Buffer.from(freshDescriptor)
  other[0] = 2
  assert.throws(() => decodeDescriptor(other), FormatError)
})

test('a file that is no index file is refused, a torn entry ends one', () => {
  assert.throws(() => decodeIndexHeader(userNamespace.i0.subarray(0, 28)), FormatError)
  for (const at of [0, 3, 4, 28]) {
    const bad = Buffer.from(userNamespace.i0)
    bad[at]! ^= 0x40
    assert.throws(() => [...indexEntries(bad)], FormatError)
  }
  for (let length = 0x6b; length < userNamespace.i0.length; length++)
    assert.equal([...indexEntries(userNamespace.i0.subarray(0, length))].length, 2)
})
