import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { CachedbProcess } from './cachedb-process.ts'
import { until } from './hook-script.ts'

const timeout = 60_000

/** Each call is a line of `<directory>/calls`: the arguments, in brackets. */
const recorder = `
here=$(dirname "$0")
line=$1; for word in "$@"; do line="$line [$word]"; done
echo "$line" >> "$here/calls"
`

interface Fixture {
  readonly cachedb: CachedbProcess
  /** Of one event, without its name. */
  readonly calls: (event: string) => string[]
}

async function start(t: TestContext, script: string, keys = {}, { serve = true } = {}): Promise<Fixture> {
  const cachedb = await CachedbProcess.prepare(t, { hook: '{dir}/hook.sh', hook_timeout: '5s', ...keys })
  const hook = join(cachedb.directory, 'hook.sh')
  writeFileSync(hook, `#!/bin/sh\n${recorder}${script}\n`)
  chmodSync(hook, 0o755)
  if (serve) await cachedb.start()
  const calls = (event: string) => {
    const path = join(cachedb.directory, 'calls')
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : []
    return lines.filter(line => line.startsWith(`${event} `)).map(line => line.slice(event.length * 2 + 4))
  }
  return { cachedb, calls }
}

test('the hooks of a life, in order, with 0-db argv', { timeout }, async t => {
  const { cachedb, calls } = await start(
    t,
    'test "$1" != namespace-closing || sleep 0.5; echo "$1 $3" >> "$here/ended"',
  )
  const data = join(cachedb.directory, 'data')
  const instance = `[unix://${cachedb.socketPath}]`
  assert.deepEqual(calls('namespaces-init'), [`${instance} [${data}] [${data}]`])
  assert.deepEqual(calls('ready'), [instance])

  const client = await cachedb.raw()
  assert.equal(await client.ask('NSNEW', 'other'), '+OK')
  assert.equal(await client.ask('NSSET', 'other', 'worm', '0'), '+OK')
  await until(() => calls('namespace-created').length === 1 && calls('namespace-updated').length === 1)
  assert.deepEqual(calls('namespace-created'), [`${instance} [other]`])
  await client.ask('SET', 'one', '1')
  await client.ask('SET', 'two', '1')
  await client.ask('SET', 'three', '1')
  assert.equal(await client.ask('NSJUMP'), '+OK')
  await until(() => calls('jump-data').length === 1)
  await client.ask('SET', 'one', '2')
  assert.equal(await client.ask('NSJUMP'), '+OK')
  await until(() => calls('jump-data').length === 2)
  const path = (name: string) => `[${data}/default/${name}]`
  assert.deepEqual(calls('jump-index'), [
    `${instance} ${path('h0')} ${path('h1')} []`,
    `${instance} ${path('h1')} ${path('h2')} [0]`,
  ])
  assert.deepEqual(calls('jump-data'), [
    `${instance} ${path('d0')} ${path('d1')}`,
    `${instance} ${path('d1')} ${path('d2')}`,
  ])
  // The hook heard of the dirty segment: it is none any more. Another one is for namespace-closing.
  assert.equal(await client.ask('INDEX', 'DIRTY'), '[]')
  await client.ask('DEL', 'two')
  assert.equal(await client.ask('NSDEL', 'other'), '+OK')
  await until(() => calls('namespace-deleted').length === 1)

  assert.equal(await cachedb.process.stop(), 0)
  assert.deepEqual(calls('close'), [instance])
  // Not waited for, and not cut short by the end of the server either.
  await until(() => readFileSync(join(cachedb.directory, 'ended'), 'utf8').includes('namespace-closing default'))
  assert.deepEqual(calls('namespace-closing'), [`${instance} [default] ${path('h2')} ${path('d2')} [0]`])
  assert.deepEqual(calls('crash'), [])
})

test('a hook has no descriptor of the server', { timeout }, async t => {
  const { cachedb } = await start(t, 'test "$1" = namespace-updated && ls -l /proc/self/fd > "$here/fds"; exit 0')
  const client = await cachedb.raw()
  await client.ask('NSSET', 'default', 'lock', '0')
  const path = join(cachedb.directory, 'fds')
  await until(() => existsSync(path) && readFileSync(path, 'utf8').includes(' 3 -> '))
  const targets = readFileSync(path, 'utf8').match(/\d+ -> .*/g)!
  // Above its own three there is only what the server itself was started with.
  const inherited = targets.filter(target => /^([4-9]|\d\d+) /.test(target))
  const own = (target: string) => /socket:|anon_inode/.test(target) || target.includes(cachedb.directory)
  assert.deepEqual(inherited.filter(own), [])
  assert.match(targets[0]!, /^0 -> \/dev\/null/)
})

test('a crash of any kind runs the hook of it, after those it cut short', { timeout }, async t => {
  const { cachedb, calls } = await start(t, 'test "$1" = namespace-updated && sleep 30; exit 0')
  const client = await cachedb.raw()
  await client.ask('NSSET', 'default', 'lock', '0')
  await until(() => calls('namespace-updated').length === 1)
  await cachedb.process.kill9()
  await until(() => calls('crash').length === 1)
  assert.deepEqual(calls('crash'), [`[unix://${cachedb.socketPath}]`])
  assert.deepEqual(calls('close'), [])
})

test('nothing is executed before ready has ended; then what was sent is', { timeout }, async t => {
  const { cachedb, calls } = await start(
    t,
    'test "$1" != ready || while ! test -e "$here/go"; do sleep 0.02; done',
    {},
    { serve: false },
  )
  const serving = cachedb.start()
  await until(() => calls('ready').length === 1)
  const client = await cachedb.raw()
  client.send('SET', 'key', 'value')
  client.send('GET', 'key')
  await new Promise(resolve => setTimeout(resolve, 200))
  assert.equal(client.unread, 0)
  writeFileSync(join(cachedb.directory, 'go'), '')
  assert.deepEqual([await client.reply(), await client.reply()], ['$key', '$value'])
  await serving
})

test('a ready that fails ends the server, and a ready that hangs does not keep it from ending', {
  timeout,
}, async t => {
  const refusing = await start(t, 'test "$1" != ready || exit 7', {}, { serve: false })
  await using refused = refusing.cachedb.spawn()
  assert.equal(await refused.exited, 1)
  assert.match(refused.stderr, /the hook answered 7 to 'ready'; nothing is served/)
  assert.deepEqual(refusing.calls('close'), [])
  await until(() => refusing.calls('namespace-closing').length === 1)

  const hanging = await start(t, 'test "$1" != ready || sleep 30', {}, { serve: false })
  await using hung = hanging.cachedb.spawn()
  await until(() => hanging.calls('ready').length === 1)
  assert.equal(await hung.stop(), 0)
})
