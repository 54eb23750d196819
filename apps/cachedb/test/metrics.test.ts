import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { CachedbProcess } from './cachedb-process.ts'

const operations = join(import.meta.dirname, '../../../docs/operations.md')

test('Prometheus text: each metric is documented, and the numbers are real', { timeout: 60_000 }, async t => {
  const cachedb = await CachedbProcess.start(t, { metrics_listen: ':0', hook: '/bin/true', fsync: 'always' })
  const [, port] = await cachedb.process.waitForLine(/"metrics\.served".*"host":"127\.0\.0\.1","port":(\d+)/)
  const client = await cachedb.raw()
  for (let i = 0; i < 100; i++) await client.ask('SET', `key${i}`, 'x'.repeat(1000))
  assert.match(await client.ask('GET'), /^-/)
  await client.ask('NSJUMP')
  while (!/hooks_succeeded: [4-9]/.test(await client.ask('INFO'))) await new Promise(resolve => setTimeout(resolve, 20))

  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  const value = (sample: string) => {
    const line = text.split('\n').find(candidate => candidate.startsWith(`qsfs_cachedb_${sample} `))
    assert(line, `no ${sample} in\n${text}`)
    return Number(line.split(' ').at(-1))
  }
  assert.equal(value('commands_total{command="SET",result="ok"}'), 100)
  assert.equal(value('commands_total{command="GET",result="error"}'), 1)
  assert(value('command_seconds_count{command="SET"}') >= 1)
  assert.equal(value('clients'), 1)
  assert(value('network_bytes_total{direction="in"}') > 100_000)
  assert(value('disk_bytes_total{direction="out"}') > 100_000)
  assert(value('sync_seconds_count') >= 100)
  assert.equal(value('entries'), 100)
  assert.equal(value('data_bytes'), 100_000)
  assert(value('keydir_bytes') > 100)
  assert.equal(value('segments{state="closed"}'), 1)
  assert.equal(value('segments{state="open"}'), 1)
  // /bin/true stores nothing: it says nothing.
  assert.equal(value('segments_waiting'), 1)
  assert(value('segments_waiting_bytes') > 100_000)
  for (const event of ['namespaces-init', 'ready', 'jump-index', 'jump-data']) {
    assert.equal(value(`hooks_total{event="${event}",result="ok"}`), 1)
    assert.equal(value(`hook_seconds_count{event="${event}"}`), 1)
  }
  assert.equal(value('hooks_waiting{pool="store"}'), 0)
  assert(value('resident_bytes') > 10_000_000)
  assert(value('event_loop_delay_seconds{quantile="1"}') < 10)

  const told = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name)
  const documented = [...readFileSync(operations, 'utf8').matchAll(/^\| `(qsfs_cachedb_\w+)/gm)].map(([, name]) => name)
  assert.deepEqual([...documented].sort(), [...told].sort())
})
