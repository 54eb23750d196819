import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { callerOf, openFilesOf } from './open-files.ts'

test('who has a file open, and through which descriptors', async () => {
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'file')
  writeFileSync(path, '')
  const fds = [openSync(path, 'r'), openSync(path, 'r')]
  const other = openSync(directory.path, 'r')
  try {
    const { ino } = statSync(path)
    const mountId = /^mnt_id:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fds[0]}`, 'latin1'))?.[1]
    const rows = readFileSync('/proc/self/mountinfo', 'latin1').split('\n')
    const device = rows.map(row => row.split(' ')).find(([id]) => id === mountId)![2]!
    assert.deepEqual(openFilesOf(device, [ino]).get(ino), new Map([[process.pid, new Set(fds)]]))
    assert.deepEqual(openFilesOf('0:0', [ino]).get(ino), new Map(), 'of another mount')
  } finally {
    for (const fd of [...fds, other]) closeSync(fd)
  }
})

test('the descriptor a caller waits on', async () => {
  await using cat = spawnProcess('sh', ['-c', 'echo there; exec cat <&0 7<&0'])
  await cat.waitForLine(/^there$/)
  // While it becomes cat it is in other calls.
  for (let caller = null; caller?.descriptor !== 0; ) {
    caller = await callerOf(cat.pid, systemClock)
    assert.equal(caller.processId, cat.pid)
  }
  assert.deepEqual(await callerOf(2 ** 22 + 1, systemClock), { processId: 2 ** 22 + 1, descriptor: null })
})
