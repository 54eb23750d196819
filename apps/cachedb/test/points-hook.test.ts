import { equal, match } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { decodePoint } from '../src/engine/points/point-format.ts'
import { CachedbProcess } from './cachedb-process.ts'
import { until } from './hook-script.ts'

/** Stores everything while `up` is there, and takes a point at the second try. */
const script = `#!/bin/sh
set -eu
cd "\${0%/*}"
case $1 in
jump-data)
  test -e up
  id=$(printf '%s' "$3" | md5sum | cut -c1-32)
  cp "$3" "$id"; cp "$QSFS_HINT_PATH" "$id.hint"
  echo "stored $id" ;;
recovery-point)
  echo "$3" >> told
  test -e tried || { touch tried; exit 1; }
  cp "$3" part; mv part "taken-\${3##*/}" ;;
esac
`

const qsfsHook = join(import.meta.dirname, '../../stor/hooks/qsfs-hook')

test('a point goes to a hook script, again after a failure and again after kill -9', async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const file = (name: string) => join(directory.path, name)
  writeFileSync(file('hook'), script)
  chmodSync(file('hook'), 0o755)
  writeFileSync(file('up'), '')
  const cachedb = await CachedbProcess.start(t, { hook: file('hook') })
  const [owner, other] = [await cachedb.raw(), await cachedb.raw()]
  for (const name of ['data', 'meta']) equal(await owner.ask('NSNEW', name), '+OK')
  match(await owner.ask('OWNER', 'fs.1', 'data', 'meta'), /^\[/)
  equal(await owner.ask('SELECT', 'data'), '+OK')
  equal(await other.ask('POINT', 'data', 'meta'), '-OWNER another client owns this namespace')
  // Pipelined: what is behind POINT on its connection is not in it.
  owner.send('SET', 'a', '1')
  owner.send('POINT', 'data', 'meta')
  owner.send('SET', 'b', '2')
  equal(await owner.reply(), '$a')
  match(await owner.reply(), /^\[:1 \[\$\w{16} :0 :1 :1 \$\w{16}\] \[\$\w{16} :0 :0 :0 \$\w{16}\]\]$/)
  equal(await owner.reply(), '$b')
  await until(() => existsSync(file('tried')))
  await cachedb.process.kill9()
  await cachedb.start()
  await until(() => existsSync(file('taken-p1')))
  const point = decodePoint(readFileSync(file('taken-p1')))
  equal(point.namespaces.map(({ name, segments }) => `${name} ${segments.length}`).join(), 'data 1,meta 0')
  for (const { objectId, dataBytes } of point.namespaces[0]!.segments)
    equal(readFileSync(file(objectId)).length, dataBytes)
  const path = join(cachedb.directory, 'data/.points/p1')
  equal(new Set(readFileSync(file('told'), 'utf8').trim().split('\n')).size, 1)
  equal(readFileSync(file('told'), 'utf8').startsWith(`${path}\n`), true)
  const client = await cachedb.raw()
  equal(await client.ask('SELECT', 'data'), '+OK')
  equal(await client.ask('GET', 'b'), '$2')
  match(await client.ask('POINT', 'data', 'meta'), /^\[:2 /)
  await until(() => existsSync(file('taken-p2')))
})

test("stor's hook script takes no notice of points, and of events it does not know", async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  for (const event of ['recovery-point', 'an-event-of-tomorrow']) {
    const { status, stdout, stderr } = spawnSync(qsfsHook, [event, 'unix:///x', '/nowhere/p1'], { encoding: 'utf8' })
    equal(`${status} ${stdout}${stderr}`, '0 ')
  }
})
