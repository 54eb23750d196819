import assert from 'node:assert/strict'
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { mountUsers } from './mount-users.ts'

test('who stands in a directory or has a file of it open is found', async () => {
  await using directory = await temporaryDirectory()
  const place = realpathSync(directory.path)
  assert.deepEqual(mountUsers(place), [])
  await using standing = spawnProcess('sh', ['-c', 'cd "$0" && echo there && exec sleep 600', place])
  await using holding = spawnProcess('sh', ['-c', 'exec 3> "$0" && echo there && exec sleep 600', join(place, 'file')])
  await Promise.all([standing.waitForLine(/there/), holding.waitForLine(/there/)])
  const pids = mountUsers(place).map(user => Number(/\((\d+)\)$/.exec(user)?.[1]))
  assert.deepEqual(pids.toSorted(), [standing.pid, holding.pid].toSorted())
  assert.deepEqual(mountUsers(place.slice(0, -1)), [], 'a longer name is another place')
})
