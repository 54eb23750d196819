import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { families } from './posix-families.ts'
import { Stack } from './stack.ts'

test('POSIX, family by family, through one mount', async t => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path)
  for (const family of families) {
    await t.test(family, async () => {
      await stack.python('-B', join(import.meta.dirname, `posix/${family}.py`))
    })
  }
})
