import assert from 'node:assert/strict'
import { cpSync, existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { CachedbProcess, type RawClient } from './cachedb-process.ts'

const operations = readFileSync(join(import.meta.dirname, '../../../docs/operations.md'), 'utf8')
/** What operators are told to run. */
const script = /```sh backup\n([\s\S]*?)```/.exec(operations)![1]!
const keys = Array.from({ length: 60 }, (_, index) => `key${index}`)
const inFlightMax = 32

interface Change {
  readonly key: string
  /** null: deleted. */
  readonly value: string | null
}

test('the documented backup, taken under load, restores to what was executed up to a moment after its start', {
  timeout: 60_000,
}, async t => {
  const prng = seededPrng(t)
  const cachedb = await CachedbProcess.start(t, { segment_bytes: '512KiB', compact_below: 0.7 })
  const changes: Change[] = []
  let answered = 0
  let isOver = false
  const client = await cachedb.raw()
  const write = async () => {
    while (!isOver) {
      const key = prng.pick(keys)
      const value = prng.below(6) === 0 ? null : `${changes.length}.${prng.bytes(3_000).toString('hex')}`
      changes.push({ key, value })
      if (value === null) client.send('DEL', key)
      else client.send('SET', key, value)
      for (; changes.length - answered > inFlightMax; answered++) await client.reply()
    }
  }
  const writing = write()
  const count = async (wanted: number) => {
    while (answered < wanted) await new Promise(resolve => setTimeout(resolve, 5))
  }
  await count(1_000)
  const backupPath = join(cachedb.directory, 'backup')
  const answeredBefore = answered
  const data = join(cachedb.directory, 'data')
  await using backup = spawnProcess('/bin/sh', ['-c', script], { env: { DATA_DIR: data, BACKUP_DIR: backupPath } })
  assert.equal(await backup.exited, 0, backup.stderr)
  await count(answered + 500)
  isOver = true
  await writing
  await cachedb.process.kill9()
  assert(!existsSync(join(data, '.backup')))

  renameSync(data, join(cachedb.directory, 'old'))
  cpSync(backupPath, data, { recursive: true })
  await cachedb.start()
  const restored = await contents(await cachedb.raw())
  const moments = momentsOf(restored, changes)
  t.diagnostic(
    `answered before: ${answeredBefore}, restored: the state after ${moments.join(', ')} of ${changes.length}`,
  )
  assert(moments.some(moment => moment >= answeredBefore))
  // And it goes on.
  assert.equal(await (await cachedb.raw()).ask('SET', 'again', 'and again'), '$again')
})

async function contents(client: RawClient): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const key of keys) {
    const reply = await client.ask('GET', key)
    assert(reply.startsWith('$'), reply.slice(0, 100))
    if (reply !== '$-1') found.set(key, reply.slice(1))
  }
  return found
}

/** After how many changes exactly this was there. */
function momentsOf(restored: ReadonlyMap<string, string>, changes: readonly Change[]): number[] {
  const state = new Map<string, string | null>()
  const differing = new Set(restored.keys())
  const moments: number[] = []
  for (const [index, { key, value }] of changes.entries()) {
    state.set(key, value)
    if ((restored.get(key) ?? null) === value) differing.delete(key)
    else differing.add(key)
    if (differing.size === 0) moments.push(index + 1)
  }
  return moments
}
