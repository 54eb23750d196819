import assert from 'node:assert'
import { test } from 'node:test'
import { Inode } from './inode.ts'
import { decodeInodes, encodeInodes } from './inode-format.ts'
import { InodeGroup } from './inode-group.ts'

const first = 32
const now = { seconds: 1, nanos: 2 }

function stored(): Buffer {
  const inodes = Array.from({ length: 16 }, (_, slot) => {
    if (slot % 5 === 4) return null
    const inode = new Inode(first + slot, 0o100644, now)
    inode.inlineAttributes = new Map([['user.a', Buffer.alloc(slot)]])
    return inode
  })
  return encodeInodes(first, inodes)!
}

test('a record that was only looked at stays the bytes it was', () => {
  const bytes = stored()
  const group = new InodeGroup(first, bytes)
  assert.strictEqual(group.decode(first + 4), null)
  group.decode(first + 3)
  group.peek(first + 5)
  assert.strictEqual(group.known(first + 5), undefined)
  assert.strictEqual(group.encode(), bytes)
})

test('one changed, one made and one removed inode among others that stay bytes', () => {
  const group = new InodeGroup(first, stored())
  group.decode(first + 3)!.uid = 7
  group.changed(first + 3)
  group.set(first + 4, new Inode(first + 4, 0o040755, now))
  group.set(first + 5, null)
  assert(!group.shrink(), 'what is nowhere else stays')
  const expected = decodeInodes(first, stored())
  expected[3]!.uid = 7
  expected[4] = new Inode(first + 4, 0o040755, now)
  expected[5] = null
  assert.deepStrictEqual(decodeInodes(first, group.encode()), expected)
  assert(group.shrink(), 'what is in its bytes may go')
  assert.strictEqual(group.known(first + 3), undefined)
  assert.deepStrictEqual(group.decode(first + 3), expected[3])
  assert.strictEqual(group.decode(first + 5), null)
})

test('a record of which the last inode was removed is absent', () => {
  const group = new InodeGroup(first, encodeInodes(first, [null, new Inode(first + 1, 0o100644, now)]))
  group.decode(first + 1)
  group.set(first + 1, null)
  assert.strictEqual(group.encode(), null)
})
