import assert from 'node:assert'
import test from 'node:test'
import { decodeScrubPosition, encodeScrubPosition } from './scrub-position.ts'

/** docs/formats/metadata.md, "How far the scrub is". */
const golden = Buffer.from(
  [
    '51534350', // magic "QSCP"
    '01000000', // version
    '00582af58d010000', // the round began, ms since 1970
    '000102030405060708090a0b0c0d0e0f', // the last object done
  ].join(''),
  'hex',
)

test('a scrub position is the golden bytes, both ways', () => {
  const position = { roundStartedMs: 1_709_215_209_472, lastObjectId: Buffer.from([...Array(16).keys()]) }
  assert.deepStrictEqual(encodeScrubPosition(position).toString('hex'), golden.toString('hex'))
  assert.deepStrictEqual(decodeScrubPosition(golden), position)
  for (const bad of [golden.subarray(1), Buffer.concat([golden, golden]), Buffer.alloc(32)]) {
    assert.throws(() => decodeScrubPosition(bad), { reason: 'damaged' })
  }
})
