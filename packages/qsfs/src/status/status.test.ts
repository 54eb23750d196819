import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fsText } from './status.ts'

const idle = {
  transport: 'kernel',
  dirtyBytes: 0,
  waitingBytes: 0,
  flushFailure: null,
  unsyncedBytes: 0,
  blockCacheBytes: 0,
  orphans: 0,
  requests: { READ: 3, INIT: 1 },
}

test('what fs says is told in sentences', () => {
  assert.equal(fsText(idle), 'fs: everything is written back; 0 B of blocks in memory; 4 requests from the kernel')
  const busy = {
    ...idle,
    transport: 'fuse-native',
    dirtyBytes: 2048,
    unsyncedBytes: 1024,
    orphans: 2,
    flushFailure: 'Error: full',
  }
  assert.equal(
    fsText(busy),
    'fs: 2 KiB not written back yet, 1 KiB written back and not synced yet; 0 B of blocks in memory; ' +
      '2 unlinked files are open or being removed; 4 requests from the kernel; through fuse-native; cannot write back: Error: full',
  )
})
