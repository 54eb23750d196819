import assert from 'node:assert'
import { test } from 'node:test'
import { crc32c } from '@qsfs/bytes/checksum'
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from './checkpoint-format.ts'

/** Version 1, byte for byte (docs/formats/checkpoint.md). */
const golden = {
  bytes: Buffer.from(
    [
      '51434b50', // magic "QCKP"
      '0100', // version 1
      '0000', // reserved
      '0400000000000000', // session 4
      '0902000000000000', // tail 521
      '6b00000000000000', // dataNext 107
      '02000000', // looseCount 2
      '6200000000000000', // loose 98
      '6900000000000000', // loose 105
    ].join(''),
    'hex',
  ),
  checkpoint: { session: 4, tail: 521, dataNext: 107, loose: [98, 105] } satisfies Checkpoint,
}

test('the golden checkpoint is written and read', () => {
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32LE(crc32c(golden.bytes))
  const whole = Buffer.concat([golden.bytes, checksum])
  assert.equal(encodeCheckpoint(golden.checkpoint).toString('hex'), whole.toString('hex'))
  assert.equal(checksum.toString('hex'), '32fd31bf')
  assert.deepEqual(decodeCheckpoint(whole), golden.checkpoint)
})

test('no flipped bit and no cut is taken for a checkpoint', () => {
  const whole = encodeCheckpoint(golden.checkpoint)
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const damaged = Buffer.from(whole)
    damaged[bit >> 3]! ^= 1 << (bit & 7)
    assert.equal(decodeCheckpoint(damaged), null)
  }
  for (let length = 0; length < whole.length; length++) assert.equal(decodeCheckpoint(whole.subarray(0, length)), null)
})
