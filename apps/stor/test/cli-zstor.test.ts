import assert from 'node:assert'
import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { run } from './cli-fixture.ts'
import { FakeZdb } from './fake-zdb.ts'
import { until } from './store-fixture.ts'

const CLI = new URL('../src/cli.ts', import.meta.url).pathname

/** Every key that zstor knows. */
function zstorConfig(path: string, address: string): string {
  const backend = (namespace: string) => `address = "${address}"\nnamespace = "${namespace}"\npassword = "secret"\n`
  const key = '0a'.repeat(32)
  return `minimal_shards = 2
expected_shards = 4
redundant_groups = 0
redundant_nodes = 0
root = ""
socket = "${path}/zstor.sock"
pid_file = "${path}/zstor.pid"
zdb_data_dir_path = "${path}/zdbfs-data"
max_zdb_data_dir_size = 2560
zdbfs_mountpoint = "${path}/mnt"

[encryption]
algorithm = "AES"
key = "${key}"

[compression]
algorithm = "snappy"

[meta]
type = "zdb"

[meta.config]
prefix = "zstor-meta"

[meta.config.encryption]
algorithm = "AES"
key = "${key}"

${[1, 2, 3, 4].map(i => `[[meta.config.backends]]\n${backend(`meta${i}`)}`).join('\n')}
[[groups]]
${[1, 2, 3, 4].map(i => `[[groups.backends]]\n${backend(`data${i}`)}`).join('\n')}`
}

test("zstor's config and command lines work as they are", async () => {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await temporaryDirectory())
  const zdb = stack.use(await FakeZdb.listen())
  for (const i of [1, 2, 3, 4]) {
    zdb.namespaces.set(`meta${i}`, { values: new Map(), mode: 'userkey', nextId: 0 })
    zdb.namespaces.set(`data${i}`, { values: new Map(), mode: 'sequential', nextId: 0 })
  }
  // The name that zstor looks for where it is started.
  await writeFile(`${path}/zstor_config.toml`, zstorConfig(path, zdb.address))
  const environment = { QSFS_STOR_SOCKET: '', QSFS_CONFIG: '', INIT_CWD: path }
  const zstor = (...args: string[]) => run(process.execPath, [CLI, ...args], environment)
  const log = `${path}/zstor.log`
  const words = [CLI, '--log_file', log, 'monitor']
  const daemon = stack.use(spawnProcess(process.execPath, words, { env: environment }))
  await until(() => existsSync(`${path}/zstor.sock`) && existsSync(`${path}/zstor.pid`))

  const file = `${path}/d7`
  await writeFile(file, 'hello')
  assert.deepStrictEqual((await zstor('test')).code, 0)
  assert.strictEqual((await zstor('store', '-s', '-d', '-f', file, '-k', `${path}/keyed`)).code, 0)
  assert.strictEqual(existsSync(file), false)
  assert.strictEqual((await zstor('check', '--file', `${path}/keyed/d7`)).stdout, '46fb7408d4f285228f4af516ea25851b\n')
  assert.deepStrictEqual((await zstor('retrieve', '--file', `${path}/keyed/d7`)).code, 1, 'its directory is not there')
  const back = await zstor('retrieve', '--file', file, '--name', `${path}/keyed/d7`)
  assert.deepStrictEqual([back.code, await readFile(file, 'utf8')], [0, 'hello'])
  assert.strictEqual((await zstor('rebuild', '-f', `${path}/keyed/d7`)).code, 0)
  assert.match(await readFile(log, 'utf8'), /config\.without_effect.*snappy/)
  assert.strictEqual(await daemon.stop(), 0)
  await rm(`${path}/zstor_config.toml`)
  const nowhere = await zstor('status')
  assert.deepStrictEqual([nowhere.code, /^stor: which store\?/.test(nowhere.stderr)], [2, true])
})
