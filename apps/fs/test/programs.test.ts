import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { Stack } from './stack.ts'

const run = promisify(execFile)

/** Each works in an empty directory of the mount, and fails when anything is not as on another filesystem. */
const programs = ['git.sh', 'npm.sh', 'build.sh', 'rsync.sh', 'tar.sh', 'sqlite.py']

test('programs that people use, on the mount', async t => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path)
  for (const program of programs) {
    await t.test(program, async () => {
      const interpreter = program.endsWith('.py') ? 'python3' : 'sh'
      const enter = 'mkdir "$1" && cd "$1" && exec "$2" "$3"'
      const path = join(import.meta.dirname, 'programs', program)
      await run('sh', ['-c', enter, 'sh', join(stack.mountpoint, program), interpreter, path], {
        timeout: 120_000,
        killSignal: 'SIGKILL',
      })
    })
  }
})
