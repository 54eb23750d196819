import assert from 'node:assert'
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { openSource } from './segment-file.ts'

test('what is no regular file is refused at once, a pipe that nobody writes to as well', async () => {
  await using tmp = await temporaryDirectory()
  const pipe = `${tmp.path}/pipe`
  execFileSync('mkfifo', [pipe])
  await assert.rejects(openSource(pipe), { reason: 'file', message: `${pipe} is not a regular file` })
  await assert.rejects(openSource(tmp.path), { reason: 'file', message: `${tmp.path} is not a regular file` })
})

test('a file that cannot be read is named once', async () => {
  await using tmp = await temporaryDirectory()
  const absent = `${tmp.path}/absent, open 'x'`
  await assert.rejects(openSource(absent), {
    reason: 'file',
    message: `cannot read ${absent}: ENOENT: no such file or directory`,
  })
  await writeFile(absent, 'hello')
  await using source = await openSource(absent)
  assert.strictEqual(source.sizeBytes, 5)
})
