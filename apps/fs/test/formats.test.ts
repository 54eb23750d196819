import assert from 'node:assert'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { decodeChunk, encodeChunk } from '../src/block/extent-format.ts'
import { decodeSharedCounts, encodeSharedCounts } from '../src/block/sharing/shared-count-format.ts'
import { FormatError } from '../src/errors.ts'
import { decodeAttributeRecord, encodeAttributeRecord } from '../src/tree/attribute-format.ts'
import { decodeBucket, encodeNames, encodeSplit } from '../src/tree/directory/directory-format.ts'
import { Inode } from '../src/tree/inode.ts'
import { decodeInodes, encodeInodes } from '../src/tree/inode-format.ts'
import { decodeOrphans, encodeOrphans } from '../src/tree/orphan-format.ts'

const extent = { offset: 0, length: 4096, id: 7, valueOffset: 0, valueBytes: 4096, crc: 0xaabbccdd, shared: false }

function fixtureInode(): Inode {
  const inode = new Inode(35, 0o100644, { seconds: 1, nanos: 2 })
  inode.mtime = { seconds: 3, nanos: 4 }
  inode.ctime = { seconds: 5, nanos: 6 }
  inode.birthTime = { seconds: -1, nanos: 7 }
  inode.uid = 1000
  inode.gid = 100
  inode.linkCount = 1
  inode.storedSizeBytes = 4096
  inode.sizeBytes = 4096
  inode.allocatedBytes = 4096
  inode.countedBytes = 4096
  inode.inlineExtents = [extent]
  inode.chunkSpans = [{ first: 2, last: 3 }]
  inode.inlineAttributes = new Map([['user.a', Buffer.from('b')]])
  return inode
}

/** Version 1 of each, byte for byte; docs/formats draws them. */
const golden = {
  inodes: [
    '51494e4f', // magic "QINO"
    '0100', // version 1
    '0100', // count 1
    '2000000000000000', // firstNodeId 32
    '03', // slot 3: inode 35
    '00', // flags
    '01', // extentCount
    '01', // spanCount
    '0b00', // attributesBytes 11
    '0000', // reserved
    'a4810000', // mode 0100644
    'e8030000', // uid 1000
    '64000000', // gid 100
    '01000000', // linkCount
    '00000000', // generation
    '00000000', // rdev
    '0010000000000000', // sizeBytes 4096
    '0010000000000000', // allocatedBytes 4096
    '0000000000000000', // parent
    '0000000000000000', // nameCount
    '00000000', // hashSeed
    '00000000', // reserved
    '0100000000000000', // atime, seconds
    '0300000000000000', // mtime
    '0500000000000000', // ctime
    'ffffffffffffffff', // birth: -1
    '02000000', // nanoseconds of each
    '04000000',
    '06000000',
    '07000000',
    '00000000000000000000000000000000', // reserved
    '0000000000000000', // extent: offset
    '0700000000000000', // id 7
    '00100000', // length
    '00000000', // valueOffset
    '00100000', // valueBytes
    'ddccbbaa', // CRC-32C of the value
    '00000000', // flags
    '00000000', // reserved
    '02000000', // chunk span: first 2
    '03000000', // last 3
    '0600', // attribute: nameBytes
    '0100', // valueBytes
    '757365722e61', // "user.a"
    '62', // "b"
  ],
  extents: [
    '51455854', // magic "QEXT"
    '0100', // version 1
    '0000', // reserved
    '2300000000000000', // inode 35
    '0200000000000000', // chunkIndex 2
    '01000000', // count
    '00000000', // reserved
    '0000020200000000', // offset 32 MiB + 128 KiB
    '0700000000000000', // id 7
    '00100000', // length 4096
    '00100000', // valueOffset 4096
    '00200000', // valueBytes 8192
    'ddccbbaa', // CRC-32C
    '01000000', // flags: shared
    '00000000', // reserved
  ],
  names: [
    '51444952', // magic "QDIR"
    '0100', // version 1
    '00', // kind: names
    '01', // depth 1
    '0100000000000000', // directory 1
    '0000', // children
    '0000', // reserved
    '01000000', // count
    '2300000000000000', // inode 35
    '0000000000001400', // cookie
    '08', // type: regular
    '02', // nameBytes
    '0000', // reserved
    '6869', // "hi"
  ],
  split: ['51444952', '0100', '01', '00', '0100000000000000', '0500' /* children 0 and 2 */, '0000', '00000000'],
  attributes: [
    '51584154', // magic "QXAT"
    '0100', // version 1
    '0c00', // listBytes 12
    '2300000000000000', // inode 35
    '0600', // nameBytes
    '0200', // valueBytes
    '757365722e61', // "user.a"
    '6263', // "bc"
  ],
  orphans: [
    '514f5250', // magic "QORP"
    '0100', // version 1
    '0100', // count
    '0000000000000000', // record 0
    '2300000000000000', // inode 35
    '0900000000000000', // session 9
    '01', // reason: unlinked
    '00000000000000', // reserved
  ],
  sharedCounts: [
    '51534852', // magic "QSHR"
    '0100', // version 1
    '0100', // count
    '0100000000000000', // record 1: ids from 512 on
    '0200', // index 2: id 514
    '0000', // reserved
    '03000000', // references 3
  ],
} as const

const bytesOf = (name: keyof typeof golden) => Buffer.from(golden[name].join(''), 'hex')
const sharedExtent = {
  ...extent,
  offset: 2 * 16 * 1024 * 1024 + 131072,
  valueOffset: 4096,
  valueBytes: 8192,
  shared: true,
}
const hi = { name: 'hi', nodeId: 35, type: 8, cookie: 0x14000000000000 }

test('golden inodes', () => {
  const slots: (Inode | null)[] = new Array(16).fill(null)
  slots[3] = fixtureInode()
  assert.strictEqual(encodeInodes(32, slots)?.toString('hex'), bytesOf('inodes').toString('hex'))
  assert.deepStrictEqual(decodeInodes(32, bytesOf('inodes'))[3], fixtureInode())
  assert.strictEqual(encodeInodes(32, new Array(16).fill(null)), null)
})

test('golden extents', () => {
  const place = { ino: 35, chunkIndex: 2 }
  assert.strictEqual(encodeChunk(place, [sharedExtent])?.toString('hex'), bytesOf('extents').toString('hex'))
  assert.deepStrictEqual(decodeChunk(place, bytesOf('extents')), [sharedExtent])
})

test('golden directory buckets', () => {
  assert.strictEqual(encodeNames({ nodeId: 1, path: 'a' }, [hi])?.toString('hex'), bytesOf('names').toString('hex'))
  assert.deepStrictEqual(decodeBucket({ nodeId: 1, path: 'a' }, bytesOf('names')), { names: [hi] })
  assert.strictEqual(encodeSplit({ nodeId: 1, path: '' }, 0b101)?.toString('hex'), bytesOf('split').toString('hex'))
  assert.deepStrictEqual(decodeBucket({ nodeId: 1, path: '' }, bytesOf('split')), { children: 0b101 })
})

test('golden attributes, orphans and shared counts', () => {
  const attributes = new Map([['user.a', Buffer.from('bc')]])
  assert.strictEqual(encodeAttributeRecord(35, attributes)?.toString('hex'), bytesOf('attributes').toString('hex'))
  assert.deepStrictEqual(decodeAttributeRecord(35, bytesOf('attributes')), attributes)
  const orphan = { nodeId: 35, session: 9, reason: 1 } as const
  assert.strictEqual(encodeOrphans(0, [orphan])?.toString('hex'), bytesOf('orphans').toString('hex'))
  assert.deepStrictEqual(decodeOrphans(0, bytesOf('orphans')), [orphan])
  const counts = new Map([[514, 3]])
  assert.strictEqual(encodeSharedCounts(1, counts)?.toString('hex'), bytesOf('sharedCounts').toString('hex'))
  assert.deepStrictEqual(decodeSharedCounts(1, bytesOf('sharedCounts')), counts)
})

test('damaged records are refused, never taken for empty ones', t => {
  const prng = seededPrng(t)
  const decoders: Record<keyof typeof golden, (bytes: Buffer) => unknown> = {
    inodes: bytes => decodeInodes(32, bytes),
    extents: bytes => decodeChunk({ ino: 35, chunkIndex: 2 }, bytes),
    names: bytes => decodeBucket({ nodeId: 1, path: 'a' }, bytes),
    split: bytes => decodeBucket({ nodeId: 1, path: '' }, bytes),
    attributes: bytes => decodeAttributeRecord(35, bytes),
    orphans: bytes => decodeOrphans(0, bytes),
    sharedCounts: bytes => decodeSharedCounts(1, bytes),
  }
  for (const [name, decode] of Object.entries(decoders)) {
    const whole = bytesOf(name as keyof typeof golden)
    for (let cut = 0; cut < whole.length; cut++) {
      assert.throws(() => decode(whole.subarray(0, cut)), { name: /FormatError|RangeError/ }, `${name} cut at ${cut}`)
    }
    for (let round = 0; round < 500; round++) {
      const bytes = Buffer.from(whole)
      bytes[prng.below(bytes.length)]! ^= 1 + prng.below(255)
      try {
        decode(bytes)
      } catch (error) {
        assert(error instanceof FormatError || error instanceof RangeError, String(error))
      }
    }
  }
})
