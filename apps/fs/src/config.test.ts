import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadSection } from '@qsfs/config/load'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { fsSchema } from './config.ts'

const wrong: Readonly<Record<string, readonly string[]>> = {
  cachedb: ['5', '""', '"nonsense"', '"unix:"', '"host:99999999"'],
  mount: ['5', '""'],
  transport: ['"pigeon"', '5'],
  poll_us: ['-1', '"1s"', '1e9', '1.5'],
  dirty_bytes: ['"1KiB"', '"x"', '-5', 'true'],
  block_cache_bytes: ['"1KiB"', '[]'],
  read_wait: ['"1ms"', '"x"'],
  write_wait: ['0', '"1 parsec"'],
  control_socket: ['5', '""'],
  stor_socket: ['5', '""'],
  allow_other: ['"yes"'],
  quota: ['"1KiB"', '-1'],
  quota_inodes: ['0', '"x"'],
  data_namespace: ['""', '5'],
  meta_namespace: ['""', '"data"'],
  store: ['"rented"'],
  admin_password_file: ['5', '""'],
  quoat: ['5'],
}

test('a wrong value is told with its line and its key', async () => {
  await using tmp = await temporaryDirectory()
  const path = join(tmp.path, 'qsfs.toml')
  const right = { cachedb: '"unix:/run/x.sock"', mount: '"/mnt"' }
  for (const [key, values] of Object.entries(wrong)) {
    for (const value of values) {
      const lines = Object.entries({ ...right, [key]: value }).map(([name, text]) => `${name} = ${text}`)
      await writeFile(path, `[fs]\n${lines.join('\n')}\n`)
      const line = 2 + lines.findIndex(text => text.startsWith(`${key} `))
      assert.throws(
        () => loadSection(fsSchema, { path, section: 'fs' }),
        { message: new RegExp(`^${path}:${line}: \\[fs\\] ${key}[: ]`), exitCode: 2 },
        `${key} = ${value}`,
      )
    }
  }
  // Every key has a row.
  const keys = Object.keys(fsSchema.in.shape)
  assert.deepEqual(
    keys.filter(key => !Object.hasOwn(wrong, key)),
    [],
  )
})
