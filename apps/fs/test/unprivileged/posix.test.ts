import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { families } from '../posix-families.ts'

const run = promisify(execFile)
const suite = join(import.meta.dirname, 'suite.ts')
const nobody = 65_534
const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups']
const isRoot = process.getuid?.() === 0

// A /dev/fuse that everyone may open, as most systems have it, for this process and those below it; gone with them, as the mount is.
const inOwnWorld = `mount -t tmpfs tmpfs "$0" && mknod -m 666 "$0/fuse" c 10 229 && mount --bind "$0/fuse" /dev/fuse && exec "$@"`

test('POSIX for a user without privileges, through fuse-native', async t => {
  await using directory = await temporaryDirectory()
  const program = [process.execPath, suite, directory.path]
  if (isRoot) {
    const isReadable = await run(asNobody[0]!, [
      ...asNobody.slice(1),
      'test',
      '-r',
      suite,
      '-a',
      '-x',
      process.execPath,
    ]).then(
      () => true,
      () => false,
    )
    if (!isReadable) return t.skip('this checkout is closed to other users')
    await mkdir(join(directory.path, 'dev'))
    await chown(directory.path, nobody, nobody)
  }
  const unshare = ['unshare', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child']
  const [command, ...args] = isRoot
    ? [...unshare, 'sh', '-c', inOwnWorld, join(directory.path, 'dev'), ...asNobody, ...program]
    : program
  const { stdout } = await run(command!, args, { timeout: 240_000, killSignal: 'SIGKILL' })
  const outcomes: Record<string, string | null> = JSON.parse(stdout)
  for (const family of families) await t.test(family, () => assert.equal(outcomes[family], null))
})
