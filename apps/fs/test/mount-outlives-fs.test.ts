import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { HeldStack } from './held-stack.ts'

const busy = join(import.meta.dirname, 'busy.py')
const killCount = 5

test('programs see nothing but a delay when fs is killed again and again', async t => {
  const prng = seededPrng(t)
  await using directory = await temporaryDirectory()
  await using stack = await HeldStack.start(directory.path)
  await using first = stack.python(busy, String(prng.below(1e9)))
  await using second = stack.python(busy, String(prng.below(1e9)))
  for (const program of [first, second]) await program.waitForLine(/^works$/)
  for (let i = 0; i < killCount; i++) {
    await pause(prng.below(700))
    await stack.fs.kill9()
    stack.spawnFs()
    // Now and then it is killed before it serves.
    if (prng.chance(0.8)) await stack.fs.waitForLine(/mount\.ready/)
  }
  await stack.fs.waitForLine(/mount\.ready/)
  for (const program of [first, second]) {
    program.closeStdin()
    assert.equal(await program.exited, 0, program.stderr + stack.fs.stderr)
    assert.match(program.stdout, /^done \d+$/m)
  }
  assert.equal(await stack.fs.stop(), 0, stack.fs.stderr)
})
