import assert from 'node:assert'
import { rm, writeFile } from 'node:fs/promises'
import test from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { StorConfig } from '../config.ts'
import { changedFiles, readNamedFiles } from './named-files.ts'

test('a file that a setting names counts as changed when its content did', async () => {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await temporaryDirectory())
  const [tlsCaFile, adminPasswordFile] = [`${path}/ca.pem`, `${path}/password`]
  const backend = { name: 'b', tlsCaFile, adminPasswordFile }
  const read = () => readNamedFiles({ groups: [[backend]], metaBackends: [backend] } as unknown as StorConfig)
  for (const file of [tlsCaFile, adminPasswordFile]) await writeFile(file, 'one')
  const before = read()
  assert.deepStrictEqual(changedFiles(before, read()), [])
  await writeFile(tlsCaFile, 'two')
  assert.deepStrictEqual(changedFiles(before, read()), [
    'data backend b: what tlsCaFile names changed',
    'metadata backend b: what tlsCaFile names changed',
  ])
  await rm(adminPasswordFile)
  assert.strictEqual(changedFiles(before, read()).length, 4)
  assert.ok([...read().values()].every(digest => !digest.includes('one')))
})
