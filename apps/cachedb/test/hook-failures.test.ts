import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { CachedbProcess, type RawClient } from './cachedb-process.ts'
import { writeHook } from './hook-script.ts'

const timeout = 60_000
const keys = {
  hook: '{dir}/hook.sh',
  hook_timeout: '1s',
  retrieve_timeout: '1s',
  close_timeout: '1s',
  metrics_listen: ':0',
}
const isClosing = '[ "$1" = jump-data ]'

/** What a hook may do instead of its work, and how that is told. */
const troubles: readonly (readonly [
  name: string,
  script: string | null,
  mode: number,
  told: RegExp,
  result: string,
])[] = [
  ['is missing', null, 0, /ENOENT/, 'not_run'],
  ['fails', `${isClosing} && { echo 'no backend' >&2; exit 9; }; exit 0`, 0o755, /exited with 9: no backend/, 'failed'],
  ['prints for ever', `${isClosing} && exec yes; exit 0`, 0o755, /did not end within 1000 ms/, 'timeout'],
  ['is killed', `${isClosing} && kill -9 $$; exit 0`, 0o755, /killed by SIGKILL/, 'killed'],
  ['hangs', `${isClosing} && sleep 60; exit 0`, 0o755, /did not end within 1000 ms/, 'timeout'],
  ['is not executable', 'exit 0', 0o644, /EACCES/, 'not_run'],
]

test('whatever the hook does, also at the start: the server serves, and says so everywhere', { timeout }, async t => {
  const { cachedb, client, port } = await start(t, null, 0)
  const hook = join(cachedb.directory, 'hook.sh')
  assert.match(await client.ask('INFO'), /\nhooks_failing: namespaces-init,ready\n/)
  for (const [index, [name, script, mode, told, result]] of troubles.entries()) {
    await t.test(`it ${name}`, async () => {
      rmSync(hook, { force: true })
      if (script !== null) writeHook(hook, script, mode)
      await client.ask('SET', `key${index}`, 'value')
      await client.ask('NSJUMP')
      const isWaiting = new RegExp(`\\nsegments_waiting: ${index + 1}\\n`)
      let info = ''
      do {
        await new Promise(resolve => setTimeout(resolve, 50))
        info = await client.ask('INFO')
        assert.equal(await client.ask('GET', `key${index}`), '$value')
      } while (![told, /\nhooks_failing: \S*jump-data/, isWaiting].every(wanted => wanted.test(info)))
      assert.match(info, /\nhooks_failed: [1-9]/)
      assert.match(await client.ask('HOOKS'), /\[\$jump-data \[\S+\/d0 \S+\/d1\] :\d+ :\d+ :[1-9]\d* :(1|9)\]/)
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
      assert.match(metrics, new RegExp(`qsfs_cachedb_hooks_total{event="jump-data",result="${result}"} [1-9]`))
    })
  }
  await cachedb.process.waitForLine(/"level":40.*"hook\.failed".*"jump-data"/)
  assert.equal(await cachedb.process.stop(), 0)
})

test('a hook that fails for ever is said once, and its end too', { timeout }, async t => {
  const { cachedb, client } = await start(
    t,
    `${isClosing} && ! [ -e "$(dirname "$0")/works" ] && exit 9; exit 0`,
    0o755,
  )
  for (let i = 0; i < 10; i++) {
    await client.ask('SET', `key${i}`, 'value')
    await client.ask('NSJUMP')
  }
  while (!/\nhooks_failed: (1\d|[2-9]\d)\n/.test(await client.ask('INFO')))
    await new Promise(resolve => setTimeout(resolve, 50))
  writeFileSync(join(cachedb.directory, 'works'), '')
  await cachedb.process.waitForLine(/"hook\.works_again"/)
  const lines = cachedb.process.stderr.split('\n')
  assert.equal(lines.filter(line => line.includes('"hook.failed"')).length, 1)
  assert.equal(lines.filter(line => line.includes('"hook.works_again"')).length, 1)
  // Each segment is said to wait once, however often it is tried.
  const waiting = lines.filter(line => line.includes('"segment.not_stored"'))
  assert(new Set(waiting.map(line => JSON.parse(line).segmentId)).size === waiting.length)
})

async function start(t: TestContext, script: string | null, mode: number) {
  const cachedb = await CachedbProcess.prepare(t, keys)
  const path = join(cachedb.directory, 'hook.sh')
  if (script !== null) writeHook(path, script, mode)
  await cachedb.start()
  const [, port] = await cachedb.process.waitForLine(/"metrics\.served".*"port":(\d+)/)
  const client: RawClient = await cachedb.raw()
  return { cachedb, client, port }
}
