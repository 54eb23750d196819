import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { askControl } from '@qsfs/daemon/control'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { startDaemon } from './cli-fixture.ts'
import { directoryStore, until } from './store-fixture.ts'

const CACHEDB = new URL('../../cachedb/src/main.ts', import.meta.url).pathname
const operations = join(import.meta.dirname, '../../../docs/operations.md')

async function portOf(daemon: SpawnedProcess): Promise<string> {
  const [, port] = await daemon.waitForLine(/"metrics\.served".*"host":"127\.0\.0\.1","port":(\d+)/)
  return port!
}

/** The samples of one scrape by name and labels. */
async function scrape(port: string) {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  const lines = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  const samples = new Map(lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]))
  const value = (sample: string) => {
    const found = samples.get(sample)
    assert.ok(found !== undefined, `no ${sample} in\n${text}`)
    return found
  }
  return { text, samples, value }
}

function namesOf(text: string): string[] {
  return [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name!)
}

test('directories: what is told is documented, and moves with what happens', async () => {
  await using stack = new AsyncDisposableStack()
  const { path, config } = await directoryStore(stack, { metrics_listen: ':0' })
  const daemon = await startDaemon(stack, config)
  const port = await portOf(daemon)
  const before = await scrape(port)
  assert.strictEqual(before.value('zstore_store_commands_finished{success="true"}'), 0)

  const ask = (verb: string, params = {}) => askControl(`${path}/stor.sock`, verb, params)
  const files = ['f1', 'f2', 'f3', 'f4'].map(name => `${path}/${name}`)
  for (const file of files) {
    await writeFile(file, randomBytes(100_000))
    await ask('store', { file })
  }
  await ask('store', { file: files[0], notBlocking: true })
  await ask('check', { file: files[0] })
  await ask('check', { file: `${path}/nothing` })
  await assert.rejects(ask('retrieve', { file: `${path}/nothing` }), { code: 'not-found' })
  // Two of six, four times: somebody who reads four shards misses one.
  for (const i of [1, 2]) await rm(`${path}/data${i}/pieces`, { recursive: true })
  for (const file of files) await ask('retrieve', { file })
  await ask('rebuild', { all: true })

  await until(async () => (await scrape(port)).value('zstore_store_commands_finished{success="true"}') === 5)
  const { text, value, samples } = await scrape(port)
  assert.strictEqual(value('zstore_store_commands_finished{success="false"}'), 0)
  assert.strictEqual(value('zstore_retrieve_commands_finished{success="true"}'), 4)
  assert.strictEqual(value('zstore_retrieve_commands_finished{success="false"}'), 1)
  assert.strictEqual(value('zstore_rebuild_commands_finished{success="true"}'), 1)
  assert.strictEqual(value('zstore_check_commands_finished{success="true"}'), 1)
  assert.strictEqual(value('zstore_check_commands_finished{success="false"}'), 1)
  assert.strictEqual(value('qsfs_stor_objects'), 4)
  assert.strictEqual(value('qsfs_stor_objects_total{operation="store"}'), 4)
  assert.strictEqual(value('qsfs_stor_object_bytes_total{operation="store"}'), 400_000)
  assert.strictEqual(value('qsfs_stor_object_bytes_total{operation="retrieve"}'), 400_000)
  assert.ok(value('qsfs_stor_faulty_pieces_total{kind="missing"}') > 0)
  assert.ok(value('qsfs_stor_repair_reports_total') > 0)
  assert.ok(value('qsfs_stor_repair_shards_rebuilt_total') >= 8)
  assert.ok(value('qsfs_stor_repair_bytes_total') > 100_000)
  assert.strictEqual(value('qsfs_stor_margin_locations'), 2)
  assert.strictEqual(value('qsfs_stor_writable'), 1)
  const put = 'backend="data3",backend_type="data",operation="put"'
  assert.ok(value(`qsfs_stor_backend_bytes_total{${put}}`) > 100_000)
  assert.strictEqual(
    value(`qsfs_stor_backend_seconds_bucket{${put},le="+Inf"}`),
    value(`qsfs_stor_backend_requests_total{${put},outcome="ok"}`),
  )
  assert.ok(value('qsfs_stor_backend_seconds_count{backend="meta1",backend_type="meta",operation="set"}') > 4)
  const place = (kind: string) => `{address="dir:${path}/${kind}1",namespace="",backend_type="${kind}"}`
  for (const kind of ['data', 'meta']) {
    assert.strictEqual(value(`connection_status${place(kind)}`), 1)
    assert.ok(value(`entries${place(kind)}`) > 0)
    assert.ok(value(`data_disk_freespace_bytes${place(kind)}`) > 0)
  }
  assert.ok(!samples.has(`data_limit_bytes${place('data')}`), 'a directory has no limit')
  assert.doesNotMatch(text, new RegExp((await readFile(`${path}/master`, 'utf8')).trim()))

  await rename(`${path}/data1`, `${path}/away`)
  await until(async () => (await scrape(port)).value('qsfs_stor_margin_locations') === 1)
  const without = await scrape(port)
  assert.strictEqual(without.value(`connection_status${place('data')}`), 0)
  assert.strictEqual(without.value('qsfs_stor_backend_up{backend="data1",backend_type="data"}'), 0)

  // What was counted outlives a reload, and nothing is declared twice.
  await rename(`${path}/away`, `${path}/data1`)
  await writeFile(config, (await readFile(config, 'utf8')).replace('[stor]', '[stor]\nstores_max = 3'))
  await ask('reload')
  assert.strictEqual((await scrape(port)).value('zstore_retrieve_commands_finished{success="true"}'), 4)

  const section = readFileSync(operations, 'utf8').split('### Metrics of stor\n')[1]!.split('\n###')[0]!
  const documented = [...section.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name)
  assert.deepStrictEqual(documented.sort(), namesOf(text).sort())
  assert.strictEqual(await daemon.stop(), 0)
})

test("0-db servers: every backend series of zstor, in the server's own numbers, and no password", async () => {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await temporaryDirectory())
  await mkdir(`${path}/db`)
  const address = `unix:${path}/db.sock`
  await writeFile(`${path}/db.toml`, `[cachedb]\ndata_dir = "${path}/db"\nsocket = "${path}/db.sock"\nmode = "mixed"\n`)
  const server = stack.use(spawnProcess(process.execPath, [CACHEDB, '--config', `${path}/db.toml`]))
  await server.waitForLine(/server\.ready/)
  const places = (table: string, kind: string) =>
    [1, 2, 3, 4].map(
      i => `[[stor.${table}]]\naddress = "${address}"\nnamespace = "${kind}${i}"\npassword = "hidden-word"\n`,
    )
  const config = `${path}/qsfs.toml`
  await writeFile(
    config,
    `[stor]
minimal_shards = 2
expected_shards = 4
redundant_groups = 0
socket = "${path}/stor.sock"
master_key_file = "${path}/master"
create_namespaces = true
health_check_interval = "50ms"
metrics_listen = "127.0.0.1:0"
[[stor.groups]]
${places('groups.backends', 'data').join('')}
[stor.meta.config]
${places('meta.config.backends', 'meta').join('')}`,
  )
  const daemon = await startDaemon(stack, config)
  const port = await portOf(daemon)
  const labels = (kind: string, i = 1) => `{address="${address}",namespace="${kind}${i}",backend_type="${kind}"}`
  await writeFile(`${path}/f`, randomBytes(500_000))
  await askControl(`${path}/stor.sock`, 'store', { file: `${path}/f` })
  await until(async () => (await scrape(port)).samples.get(`data_size_bytes${labels('data', 4)}`)! > 250_000)

  const { text, value } = await scrape(port)
  for (const kind of ['data', 'meta']) {
    for (const i of [1, 2, 3, 4]) {
      assert.strictEqual(value(`connection_status${labels(kind, i)}`), 1)
      assert.ok(value(`entries${labels(kind, i)}`) > 0)
      assert.ok(value(`index_size_bytes${labels(kind, i)}`) > 0)
      assert.strictEqual(value(`data_limit_bytes${labels(kind, i)}`), 0)
      for (const disk of ['index', 'data']) {
        assert.ok(value(`${disk}_disk_freespace_bytes${labels(kind, i)}`) > 0)
        assert.strictEqual(value(`${disk}_io_errors${labels(kind, i)}`), 0)
        assert.strictEqual(value(`${disk}_faults${labels(kind, i)}`), 0)
      }
    }
  }
  assert.doesNotMatch(text, /hidden-word/)

  await server.kill9()
  await until(async () => (await scrape(port)).value(`connection_status${labels('data')}`) === 0)
  assert.strictEqual(await daemon.stop(), 0)
})

test('prometheus_port in use: the daemon says so and ends', async () => {
  await using stack = new AsyncDisposableStack()
  const first = await directoryStore(stack, { metrics_listen: ':0' })
  const port = await portOf(await startDaemon(stack, first.config))
  const second = await directoryStore(stack, { prometheus_port: Number(port) })
  const main = new URL('../src/main.ts', import.meta.url).pathname
  const daemon = stack.use(spawnProcess(process.execPath, [main, '--config', second.config]))
  assert.strictEqual(await daemon.exited, 1)
  assert.match(daemon.stderr, new RegExp(`metrics cannot be served at 127\\.0\\.0\\.1 port ${port}`))
})
