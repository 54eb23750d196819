import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { Stack } from './stack.ts'

const families = [
  'attributes',
  'contents',
  'copies',
  'holes',
  'locks',
  'names',
  'overlay',
  'renames',
  'unlinked',
  'xattrs',
]

test('POSIX, family by family, through one mount', async t => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path)
  for (const family of families) {
    await t.test(family, async () => {
      await stack.python('-B', join(import.meta.dirname, `posix/${family}.py`))
    })
  }
})
