import assert from 'node:assert'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { DirectoryBackend } from '../src/backend/directory-backend.ts'
import { DirectoryFiles } from '../src/backend/directory-files.ts'
import { StorError } from '../src/errors.ts'

test('a disk that failed under a piece is told to who relies on it, also when somebody else was told first', async t => {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await temporaryDirectory())
  const backend = new DirectoryBackend('b', path)
  const [mine, theirs] = [await backend.put(Buffer.from('mine')), await backend.put(Buffer.from('theirs'))]
  const slow = Promise.withResolvers<void>()
  let syncCount = 0
  // As Linux does it: the error is told once, and the next fsync says yes.
  t.mock.method(DirectoryFiles.prototype, 'sync', async (synced: string) => {
    if (syncCount++ === 0) throw new StorError('damaged', `EIO: ${synced}`)
    if (syncCount === 2) await slow.promise
  })
  const first = assert.rejects(backend.sync({ ids: [theirs] }), { reason: 'missing' })
  while (syncCount < 2) await new Promise(resolve => setImmediate(resolve))
  const second = assert.rejects(backend.sync({ ids: [mine] }), { reason: 'missing' })
  for (let turn = 0; turn < 10; turn++) await new Promise(resolve => setImmediate(resolve))
  slow.resolve()
  await Promise.all([first, second])
  await backend.sync({ ids: [theirs] })
})
