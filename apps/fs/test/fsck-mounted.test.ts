import assert from 'node:assert'
import { test } from 'node:test'
import { RespClient } from '@qsfs/resp/client'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { Stack } from './stack.ts'

/** Makes and removes files until it is told to stop, an fsync now and then. */
const busy = `
import os, sys
for round in range(100000):
    for i in range(20):
        fd = os.open(f"busy{i}", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x" * (1000 * i))
        if i == 7: os.fsync(fd)
        os.close(fd)
    for i in range(0, 20, 2): os.unlink(f"busy{i}")
    print(round, flush=True)
`

test('fsck of a server without a filesystem says that there is none yet', async () => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path, '', { withFs: false })
  const { exitCode, stderr } = await stack.fsck()
  assert.strictEqual(exitCode, 1)
  assert.match(
    stderr,
    /^fs: there is no filesystem at unix:.* yet: the namespaces data and meta are made by the first mount$/m,
  )
})

test('fsck looks at a mount in use, repairs what is not mounted, and says so with its exit code', async () => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path)
  {
    await using writer = stack.runPython(busy)
    await writer.waitForLine(/^3$/)
    {
      const live = await stack.fsck('--deep')
      assert.strictEqual(live.exitCode, 0, live.stdout + live.stderr)
      assert.match(live.stdout, /clean\n$/)
    }
    assert.strictEqual((await stack.fsck('--repair')).exitCode, 2)
    await writer.kill9()
  }
  assert.strictEqual(await stack.fs.stop(), 0, stack.fs.stderr)
  assert.strictEqual((await stack.fsck('--deep')).exitCode, 0)
  assert.strictEqual((await stack.fsck('--deep', '--repair')).exitCode, 2)

  {
    await using vandal = await RespClient.connect({ address: stack.cachedbAddress, namespace: 'meta' })
    await vandal.call('DEL', 'n')
  }
  const found = await stack.fsck('--json')
  assert.strictEqual(found.exitCode, 1)
  assert.deepStrictEqual(JSON.parse(found.stdout).problemCounts, { 'numbers-wrong': 1 })
  const repaired = await stack.fsck('--repair')
  assert.strictEqual(repaired.exitCode, 0, repaired.stdout + repaired.stderr)
  assert.match(repaired.stdout, /repaired: numbers-wrong[\s\S]*clean after 1 repairs\n$/)
  await stack.startFs()
  await stack.python('-c', 'open("after", "w").write("x")')
  assert.strictEqual((await stack.fsck('--nonsense')).exitCode, 2)
})
