/** The whole server with a hook that stores: what is deleted leaves the disk, and the store. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { CachedbProcess, type RawClient } from './cachedb-process.ts'
import { storingScript, writeHook } from './hook-script.ts'

const timeout = 60_000
const valueBytes = 16 * 1024
const count = 240

test('sparse segments leave, segment-deleted is told, and what lives is read, also after kill -9', {
  timeout,
}, async t => {
  const cachedb = await CachedbProcess.prepare(t, {
    hook: '{dir}/hook.sh',
    segment_bytes: '512KiB',
    compact_bytes_per_second: 0,
  })
  const store = join(cachedb.directory, 'store')
  mkdirSync(store)
  const script = `set -eu\nSTORE_DIR='${store}'\n: "\${QSFS_OBJECT_ID:=}"\n${storingScript}`
  writeHook(join(cachedb.directory, 'hook.sh'), script, 0o755)
  await cachedb.start()
  const client = await cachedb.raw()
  const prng = prngFromSeed(3)
  const values = Array.from({ length: count }, () => prng.bytes(valueBytes))
  for (const [n, value] of values.entries()) assert.equal(await client.ask('SET', `k${n}`, value), `$k${n}`)
  const lives = (n: number) => n % 6 === 0
  for (let n = 0; n < count; n++) if (!lives(n)) assert.equal(await client.ask('DEL', `k${n}`), '+OK')
  // Copies are stored when their segment is closed; then their sources may go.
  const directory = join(cachedb.directory, 'data/default')
  const segmentsIn = () => readdirSync(directory).filter(name => /^d\d+$/.test(name)).length
  const before = segmentsIn()
  for (let round = 0; segmentsIn() > 4; round++) {
    if (round % 20 === 10) assert.equal(await client.ask('NSJUMP'), '+OK')
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  assert(before >= 8, `${before} segments before`)
  const deletions = readFileSync(join(store, 'log'), 'utf8').match(/^segment-deleted /gm) ?? []
  assert(deletions.length > 0)
  await assertValues(client)

  await cachedb.process.kill9()
  await cachedb.start()
  await assertValues(await cachedb.raw())

  async function assertValues(client: RawClient): Promise<void> {
    for (const [n, value] of values.entries())
      assert.equal(await client.ask('GET', `k${n}`), lives(n) ? `$${value.toString('latin1')}` : '$-1')
  }
})
