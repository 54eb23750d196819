import assert from 'node:assert'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { encodeChunk } from '../src/block/extent-format.ts'
import type { ExtentList } from '../src/block/extents.ts'
import { encodeSharedCounts, idsPerSharedRecord } from '../src/block/sharing/shared-count-format.ts'
import type { FindingKind } from '../src/fsck/findings.ts'
import { FileType } from '../src/tree/inode.ts'
import { encodeOrphans, OrphanReason } from '../src/tree/orphan-format.ts'
import { encodeTransaction } from '../src/tree/transaction-format.ts'
import { Driver } from './driver.ts'
import { check, type Planted, plant, Vandal } from './fsck-world.ts'
import { SimulatedDisk, SimulatedStore } from './simulated-disk.ts'

/** One kind of damage, done on purpose. */
interface Row {
  readonly damage: string
  readonly done: (vandal: Vandal, at: Planted) => void
  readonly found: readonly FindingKind[]
  /** What is left after --repair; none: all of it was repaired. */
  readonly left?: readonly FindingKind[]
  /** Looked at in the mounted filesystem after the repair. */
  readonly afterwards?: (driver: Driver, at: Planted) => Promise<void>
}

const rows: readonly Row[] = [
  {
    damage: 'a checkpoint that does not hold together',
    done: v => v.spoil('c'),
    found: ['checkpoint-unreadable'],
    left: ['checkpoint-unreadable'],
  },
  {
    damage: 'a data namespace that lost its end',
    done: v => {
      v.disk.blocks.length = 2
    },
    found: ['data-behind'],
    left: ['data-behind'],
  },
  {
    damage: 'a transaction that rotted in the middle of the log',
    done: v => {
      const checkpoint = v.get('c')
      const session = Number(checkpoint.readBigUInt64LE(8))
      const tail = Number(checkpoint.readBigUInt64LE(16))
      const transaction = { session, seq: tail + 1, records: new Map([['n', v.get('n')]]), adds: [], frees: [] }
      v.set(`t${tail}`, Buffer.from('rotten'))
      v.set(`t${tail + 1}`, encodeTransaction(transaction))
    },
    found: ['log-gap'],
    left: ['log-gap'],
  },
  {
    damage: 'an inode record that cannot be read',
    done: v => v.spoil('i0'),
    found: ['record-unreadable', 'root-missing', 'block-leaked'],
    left: ['record-unreadable', 'root-missing', 'block-leaked'],
  },
  {
    damage: 'a bucket that cannot be read',
    done: (v, { sub }) => v.spoil(`d${sub}.`),
    found: ['record-unreadable', 'unreachable'],
    left: ['record-unreadable'],
    afterwards: async (driver, { inner }) => {
      assert.strictEqual((await driver.read(`lost+found/#${inner}`, 3, 20)).toString(), 'inner bytes')
    },
  },
  {
    damage: 'extents that cannot be read',
    done: (v, { big }) => v.spoil(`e${big}.0`),
    found: ['record-unreadable', 'block-leaked'],
    left: ['record-unreadable', 'block-leaked'],
  },
  {
    damage: 'a record of an unknown name',
    done: v => v.set('zebra', Buffer.from('?')),
    found: ['record-stray'],
    left: ['record-stray'],
  },
  {
    damage: 'records of an inode that does not exist',
    done: v => {
      const extents = [{ offset: 0, length: 1, id: 1, valueOffset: 0, valueBytes: 1, crc: 0, shared: false }]
      v.set('e9999.0', encodeChunk({ ino: 9999, chunkIndex: 0 }, extents))
      v.set('x9999', Buffer.from('?'))
      v.set('d9999.', Buffer.from('?'))
    },
    found: ['record-stray'],
  },
  {
    damage: 'a chunk its inode knows nothing of',
    done: (v, { big }) => {
      const extents = [{ offset: 2 ** 30, length: 1, id: 0, valueOffset: 0, valueBytes: 10, crc: 0, shared: false }]
      v.set(`e${big}.64`, encodeChunk({ ino: big, chunkIndex: 64 }, extents))
    },
    found: ['record-stray'],
    left: ['record-stray'],
  },
  { damage: 'no record of numbers', done: v => v.set('n', null), found: ['numbers-wrong'] },
  { damage: 'numbers that cannot be read', done: v => v.spoil('n'), found: ['record-unreadable', 'numbers-wrong'] },
  {
    damage: 'a next inode number that was given before',
    done: v => {
      const bytes = Buffer.from(v.get('n'))
      bytes.writeBigUInt64LE(5n, 8)
      v.set('n', bytes)
    },
    found: ['numbers-wrong'],
    afterwards: async driver => driver.create('fresh'),
  },
  {
    damage: 'an unknown file type',
    done: (v, { file }) =>
      v.inode(file, inode => {
        inode.mode = 0o030644
      }),
    found: ['inode-invalid', 'name-type'],
    left: ['inode-invalid'],
  },
  {
    damage: 'attributes that are gone',
    done: (v, { file }) => v.set(`x${file}`, null),
    found: ['attributes-missing'],
    left: ['attributes-missing'],
  },
  {
    damage: 'a name of an inode that is gone',
    done: (v, { link }) => v.dropInode(link),
    found: ['name-dangling', 'numbers-wrong'],
    afterwards: async driver => assert.rejects(driver.stat('link'), { code: 'ENOENT' }),
  },
  {
    damage: 'a name of the wrong type',
    done: (v, { file }) =>
      v.names(1, '', names => names.map(n => (n.nodeId === file ? { ...n, type: FileType.directory >>> 12 } : n))),
    found: ['name-type'],
  },
  {
    damage: 'a name where nobody looks',
    done: (v, { file }) =>
      v.names(1, '', names =>
        names
          .map(n => (n.nodeId === file ? { ...n, cookie: (n.cookie + 2 ** 40) % 2 ** 53 } : n))
          .sort((a, b) => a.cookie - b.cookie),
      ),
    found: ['name-misplaced'],
    afterwards: async driver => void (await driver.stat('file')),
  },
  {
    damage: 'the same name twice',
    done: v => v.names(1, '', names => [...names, names[0]!]),
    found: ['name-duplicate', 'directory-count', 'link-count'],
  },
  {
    damage: 'a name with a slash',
    done: v => v.names(1, '', names => [...names, { name: 'a/b', nodeId: 2, type: 8, cookie: 5 }]),
    found: ['name-invalid', 'name-misplaced', 'directory-count', 'link-count'],
    left: ['name-invalid'],
  },
  {
    damage: 'a bucket that is gone',
    done: (v, { wide }) => v.set(v.keys(new RegExp(`^d${wide}\\.[0-9a-f]$`))[0]!, null),
    found: ['bucket-missing', 'directory-count', 'unreachable'],
  },
  {
    damage: 'a directory with two names',
    done: (v, { sub }) => v.names(1, '', names => [...names, misplaced('second', sub)]),
    found: ['directory-named-twice', 'name-misplaced', 'directory-count', 'link-count'],
    afterwards: async driver => void (await driver.stat('dir/sub/inner')),
  },
  {
    damage: 'a wrong ".."',
    done: (v, { sub }) =>
      v.inode(sub, inode => {
        inode.parent = 1
      }),
    found: ['directory-parent'],
  },
  {
    damage: 'a wrong count of names',
    done: (v, { wide }) =>
      v.inode(wide, inode => {
        inode.nameCount = 7
      }),
    found: ['directory-count'],
  },
  {
    damage: 'wrong link counts',
    done: (v, { twice, dir }) => {
      v.inode(twice, inode => {
        inode.linkCount = 9
      })
      v.inode(dir, inode => {
        inode.linkCount = 2
      })
    },
    found: ['link-count'],
    afterwards: async driver => assert.strictEqual((await driver.stat('again')).linkCount, 2),
  },
  {
    damage: 'a directory without a name',
    done: (v, { dir }) => v.names(1, '', names => names.filter(n => n.nodeId !== dir)),
    found: ['unreachable', 'directory-count', 'link-count'],
    afterwards: async (driver, { dir }) => void (await driver.stat(`lost+found/#${dir}/sub/inner`)),
  },
  {
    damage: 'a directory inside of itself',
    done: (v, { dir, sub }) => {
      v.names(1, '', names => names.filter(n => n.nodeId !== dir))
      v.names(sub, '', names => [...names, misplaced('ring', dir)])
    },
    found: ['unreachable', 'name-misplaced', 'directory-count', 'directory-parent', 'link-count'],
    afterwards: async driver => {
      const tops = (await driver.list('lost+found')).filter(({ name }) => name.startsWith('#'))
      assert.strictEqual(tops.length, 1)
    },
  },
  {
    damage: 'an unlinked inode that nobody would remove',
    done: (v, { file }) => {
      v.names(1, '', names => names.filter(n => n.nodeId !== file))
      v.inode(file, inode => {
        inode.linkCount = 0
      })
      v.inode(1, inode => {
        inode.nameCount--
      })
    },
    found: ['orphan-unlisted'],
  },
  {
    damage: 'an entry on the list of orphans that is none',
    done: (v, { file }) => {
      const orphans = [
        { nodeId: file, reason: OrphanReason.unlinked, session: 1 },
        { nodeId: 7777, reason: OrphanReason.trimmed, session: 1 },
      ]
      const numbers = Buffer.from(v.get('n'))
      numbers.writeBigUInt64LE(1n, 24)
      v.set('n', numbers)
      v.set('o0', encodeOrphans(0, orphans))
    },
    found: ['orphan-stale'],
    afterwards: async driver => void (await driver.stat('file')),
  },
  {
    damage: 'a list of orphans that cannot be read',
    done: v => {
      const numbers = Buffer.from(v.get('n'))
      numbers.writeBigUInt64LE(1n, 24)
      v.set('n', numbers)
      v.set('o0', Buffer.from('?'))
    },
    found: ['record-unreadable'],
  },
  {
    damage: 'extents beyond the end',
    done: (v, { big }) =>
      v.inode(big, inode => {
        inode.storedSizeBytes = 100
      }),
    found: ['extent-beyond-size'],
    afterwards: async driver => {
      await driver.truncate('big', 2 ** 22)
      assert((await driver.read('big', 2 ** 21, 4)).equals(Buffer.alloc(4)))
    },
  },
  {
    damage: 'overlapping extents',
    done: (v, { file }) =>
      v.inode(file, inode => {
        inode.inlineExtents = [inode.inlineExtents![0]!, inode.inlineExtents![0]!]
      }),
    found: ['extent-invalid', 'allocated-bytes'],
    left: ['extent-invalid'],
  },
  {
    damage: 'a wrong count of bytes',
    done: (v, { big }) =>
      v.inode(big, inode => {
        inode.allocatedBytes = 1
      }),
    found: ['allocated-bytes', 'numbers-wrong'],
  },
  {
    damage: 'a block that is gone',
    done: v => v.disk.blocks.push({ key: 0, value: null }),
    found: ['block-missing'],
    left: ['block-missing'],
  },
  {
    damage: 'a block of another length',
    done: v => v.disk.blocks.push({ key: 0, value: Buffer.from('short') }),
    found: ['block-length'],
    left: ['block-length'],
  },
  {
    damage: 'a block that the next mount would delete',
    done: v => v.loose(0),
    found: ['block-doomed'],
    left: ['block-doomed'],
  },
  {
    damage: 'a block of two files that nobody counts',
    done: (v, { file, inner }) => {
      let extents: ExtentList = []
      v.inode(file, inode => {
        extents = inode.inlineExtents!
      })
      v.inode(inner, inode => {
        inode.inlineExtents = extents
      })
    },
    found: ['block-named-twice', 'block-leaked', 'allocated-bytes'],
    left: ['block-named-twice'],
  },
  {
    damage: 'a wrong count of a shared block',
    done: (v, { file }) => {
      v.inode(file, inode => {
        inode.inlineExtents = inode.inlineExtents!.map(extent => ({ ...extent, shared: true }))
      })
      v.set('s1', encodeSharedCounts(1, new Map([[idsPerSharedRecord + 1, 3]])))
    },
    found: ['shared-count'],
  },
  {
    damage: 'blocks that nothing names',
    done: v => {
      const { nextBlockId } = v.disk
      v.disk.blocks.push({ key: nextBlockId, value: Buffer.from('x') })
      v.disk.blocks.push({ key: nextBlockId + 1, value: Buffer.from('y') })
      // A checkpoint that believes that they are named.
      const checkpoint = v.get('c')
      checkpoint.writeBigUInt64LE(BigInt(nextBlockId + 2), 24)
      v.setChecked('c', checkpoint)
    },
    found: ['block-leaked'],
  },
]

/** As if it had been added with another seed. */
function misplaced(name: string, nodeId: number) {
  return { name, nodeId, type: FileType.directory >>> 12, cookie: 1000 }
}

test('a tree with one of everything is clean, and stays so after a repair', async () => {
  await using directory = await temporaryDirectory()
  const disk = new SimulatedDisk()
  await plant(disk)
  const report = await check(disk, directory.path, { repair: true })
  assert.deepStrictEqual([report.problems, report.repaired], [[], []])
  assert.strictEqual(report.inodeCount, 309)
})

for (const { damage, done, found, left = [], afterwards } of rows) {
  test(`fsck finds ${damage}`, async () => {
    await using directory = await temporaryDirectory()
    const disk = new SimulatedDisk()
    const at = await plant(disk)
    done(new Vandal(disk), at)
    const before = disk.records.length
    const report = await check(disk, directory.path)
    assert.deepStrictEqual(kinds(report.problems), [...found].sort(), JSON.stringify(report.problems.slice(0, 9)))
    assert.strictEqual(disk.records.length, before, 'a check writes nothing')

    const repaired = await check(disk, directory.path, { repair: true })
    assert.deepStrictEqual(kinds(repaired.problems), [...left].sort(), JSON.stringify(repaired.problems.slice(0, 9)))
    const again = await check(disk, directory.path)
    assert.deepStrictEqual(kinds(again.problems), [...left].sort(), JSON.stringify(again.problems.slice(0, 9)))
    if (afterwards === undefined) return
    await using driver = await Driver.mount(new SimulatedStore(disk))
    await afterwards(driver, at)
  })
}

test('a deep check reads every block, and tells whose bytes are not what was written', async () => {
  await using directory = await temporaryDirectory()
  const disk = new SimulatedDisk()
  await plant(disk)
  assert.deepStrictEqual((await check(disk, directory.path, { deep: true })).problems, [])
  const [id, bytes] = [...disk.liveBlocks()].find(([, bytes]) => bytes.includes('inner bytes'))!
  const rotten = Buffer.from(bytes)
  rotten[0]! ^= 1
  disk.blocks.push({ key: id, value: rotten })
  assert.deepStrictEqual((await check(disk, directory.path)).problems, [])
  const { problems } = await check(disk, directory.path, { deep: true })
  assert.deepStrictEqual(
    problems.map(({ kind, subject, path }) => [kind, subject, path]),
    [['block-unreadable', `block ${id}`, '/dir/sub/inner']],
  )
})

function kinds(problems: readonly { readonly kind: FindingKind }[]): FindingKind[] {
  return [...new Set(problems.map(({ kind }) => kind))].sort()
}
