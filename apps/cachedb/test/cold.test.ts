import { equal, match, ok, rejects } from 'node:assert/strict'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { RespClient } from '@qsfs/resp/client'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { CachedbProcess } from './cachedb-process.ts'

/** A store of one directory: an object is a file named by its id; `gate` must exist for a restore to go on. */
const script = (store: string) => `#!/bin/sh
set -eu
case $1 in
  jump-data)
    id=$(printf '%s' "$3" | sha256sum | cut -c1-32)
    cp "$3" ${store}/$id.data; cp "$QSFS_HINT_PATH" ${store}/$id.hint
    echo "stored $id" ;;
  missing-data)
    while [ ! -e ${store}/gate ]; do sleep 0.02; done
    cp ${store}/$QSFS_OBJECT_ID.data "$3" ;;
esac
`

const valueBytes = 64 * 1024
const contentOf = (number: number) => Buffer.alloc(valueBytes, `value ${number} `)

test('a value whose segment has left the disk: owners hear COLD and WARM it, others wait, nobody else notices', async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const store = join(directory.path, 'store')
  mkdirSync(store)
  const hook = join(directory.path, 'hook.sh')
  writeFileSync(hook, script(store))
  chmodSync(hook, 0o755)
  const cachedb = await CachedbProcess.start(t, {
    hook,
    segment_bytes: '512KiB',
    cache_bytes: '4MiB',
    value_cache_bytes: 0,
  })

  await using writer = await cachedb.client({ owner: { token: 'fs', namespaces: ['default'] } })
  for (let number = 0; number < 160; number++) await putWithPatience(writer, number)
  const raw = await cachedb.raw()
  const coldId = await firstAbsent(raw)

  // Which key is in that segment is cachedb's business: ask until one is cold.
  let cold = -1
  for (let number = 0; number < 160 && cold < 0; number++) {
    const reply = await writer.call('GET', `key ${number}`).catch((error: Error) => error.message)
    if (reply === `COLD ${coldId}`) cold = number
  }
  ok(cold >= 0)

  raw.send('GET', `key ${cold}`)
  raw.send('LENGTH', 'key 159')
  const bystander = await cachedb.raw()
  equal(await bystander.ask('PING'), '+PONG')
  equal(await bystander.ask('GET', 'key 159'), `$${contentOf(159)}`)
  await using warmer = await cachedb.client({ owner: { token: 'fs', namespaces: ['default'] } })
  const warm = warmer.call('WARM', String(coldId))
  await rejects(writer.call('GET', `key ${cold}`), { message: `COLD ${coldId}` })
  writeFileSync(join(store, 'gate'), '')
  equal(String(await warm), 'OK')
  ok((await raw.reply()) === `$${contentOf(cold)}`)
  equal(await raw.reply(), `:${valueBytes}`)
  ok(contentOf(cold).equals((await writer.call('GET', `key ${cold}`)) as Buffer))
  match(await raw.ask('HOOKS'), /\$missing-data/)
})

/** A full cache whose stores make progress is worth waiting for. */
async function putWithPatience(client: RespClient, number: number): Promise<void> {
  for (;;) {
    const reply = await client.call('SET', `key ${number}`, contentOf(number)).catch((error: Error) => error.message)
    if (reply !== 'FULL wait') {
      equal(String(reply), `key ${number}`)
      return
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

async function firstAbsent(client: { ask(...args: string[]): Promise<string> }): Promise<number> {
  for (;;) {
    const found = /\[:(\d+) \$absent /.exec(await client.ask('SEGMENTS'))
    if (found) return Number(found[1])
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
