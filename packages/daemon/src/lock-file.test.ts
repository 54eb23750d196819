import assert from 'node:assert'
import test from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { lockFile } from './lock-file.ts'

test('one holds a lock at a time; its directory need not be there', async () => {
  await using directory = await temporaryDirectory()
  const path = `${directory.path}/a/b/lock`
  {
    using _ = lockFile(path, 'this')
    assert.throws(() => lockFile(path, 'this'), /this is in use by another process/)
  }
  using _ = lockFile(path, 'this')
})
