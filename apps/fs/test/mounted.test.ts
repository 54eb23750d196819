import assert from 'node:assert'
import { join } from 'node:path'
import { test } from 'node:test'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { Stack } from './stack.ts'

const tree = join(import.meta.dirname, 'posix/tree.py')

test('a tree is there after a remount, and after both were stopped', async () => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path)
  await stack.python('-B', tree, 'make')
  await stack.python('-B', tree, 'verify')
  assert.strictEqual(await stack.fs.stop(), 0, stack.fs.stderr)
  await stack.startFs()
  await stack.python('-B', tree, 'verify')
  assert.strictEqual(await stack.fs.stop(), 0, stack.fs.stderr)
  assert.strictEqual(await stack.cachedb.stop(), 0, stack.cachedb.stderr)
  await stack.startCachedb()
  await stack.startFs()
  await stack.python('-B', tree, 'verify')
})

for (const victims of [['fs'], ['cachedb', 'fs']] as const) {
  test(`fsynced files survive kill -9 of ${victims.join(' and ')}`, async () => {
    await using directory = await temporaryDirectory()
    await using stack = await Stack.start(directory.path)
    const script = `cd ${stack.mountpoint} && exec python3 -B ${tree} fsynced`
    await using writer = spawnProcess('sh', ['-c', script])
    await writer.waitForLine(/^25$/)
    for (const victim of victims) await stack[victim].kill9()
    await writer.exited
    const last = writer.stdout.trim().split('\n').at(-1)!
    if ((victims as readonly string[]).includes('cachedb')) await stack.startCachedb()
    await stack.startFs()
    await stack.python('-B', tree, 'verify_fsynced', last)
  })
}

test('a second fs at the same place is refused, and the first one goes on', async () => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path)
  await using second = stack.secondFs()
  assert.strictEqual(await second.exited, 1)
  assert.match(second.stderr, /^fs: .* is in use: something is mounted there already$/m)
  await stack.python(
    '-c',
    'import os; fd = os.open("after", os.O_CREAT | os.O_WRONLY); os.write(fd, b"x"); os.fsync(fd)',
  )
})
