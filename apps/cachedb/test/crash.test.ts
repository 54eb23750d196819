import { equal, match, ok } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { RespClient, RespError } from '@qsfs/resp/client'
import { seededPrng } from '@qsfs/testkit/prng'
import { CachedbProcess } from './cachedb-process.ts'

test('kill -9 in the middle of writes: all that was answered is there, and what is there was sent', async t => {
  const prng = seededPrng(t)
  // 512 KiB segments: several rotations in each life.
  const cachedb = await CachedbProcess.start(t, { segment_bytes: '512KiB' })
  const answered = new Map<string, string | null>()
  for (let life = 0; life < 3; life++) {
    const client = await cachedb.client()
    /** Sent and not answered when the process died: either the old or the new value. */
    const open = new Map<string, Set<string | null>>()
    // Counted, not timed: a slow machine answers few in half a second.
    let leftToAnswer = 300 + prng.below(600)
    const lives = Array.from({ length: 8 }, async (_, lane) => {
      try {
        for (let number = 0; ; number++) {
          // A key belongs to one lane, so its order of writes is known.
          const key = `lane ${lane} key ${prng.below(40)}`
          const value = prng.chance(0.2) ? null : `${life} ${number} ${'x'.repeat(prng.below(9000))}`
          open.set(key, new Set([answered.get(key) ?? null, value]))
          if (value === null) await client.call('DEL', key).catch(ignoreMissing)
          else await client.call('SET', key, value)
          answered.set(key, value)
          open.delete(key)
          if (--leftToAnswer === 0) process.kill(cachedb.process.pid, 'SIGKILL')
        }
      } catch (error) {
        if ((error as Error).name !== 'ConnectionLost') throw error
      }
    })
    await Promise.all(lives)
    await cachedb.process.exited
    await cachedb.start()
    await using reopened = await cachedb.client()
    for (const [key, expected] of answered) {
      const stored = await reopened.call('GET', key)
      const found = stored === null ? null : String(stored)
      const allowed = open.get(key) ?? new Set([expected])
      ok(
        allowed.has(found),
        `${key} is ${found?.slice(0, 20)}, allowed ${[...allowed].map(value => value?.slice(0, 20))}`,
      )
      answered.set(key, found)
    }
  }
})

function ignoreMissing(error: Error): void {
  if (!(error instanceof RespError) || error.message !== 'Key not found') throw error
}

test('SIGTERM ends with 0 and everything is there afterwards', async t => {
  const cachedb = await CachedbProcess.start(t)
  {
    await using client = await cachedb.client()
    await client.call('SET', 'key', 'value')
  }
  equal(await cachedb.process.stop(), 0)
  await cachedb.start()
  const client = await cachedb.raw()
  equal(await client.ask('GET', 'key'), '$value')
})

test('a second process on the same directory, a wrong key, a busy socket: one sentence each', async t => {
  const cachedb = await CachedbProcess.start(t)
  await using second = cachedb.spawn()
  equal(await second.exited, 1)
  match(second.stderr, /is in use by another process/)

  const main = join(import.meta.dirname, '../src/main.ts')
  const attempt = (toml: string) => {
    const config = join(cachedb.directory, 'other.toml')
    writeFileSync(config, toml)
    return spawnSync(process.execPath, [main, '--config', config], { encoding: 'utf8' })
  }
  const wrong = attempt('[cachedb]\ndata_dir = "/tmp/x"\nsokcet = "/tmp/y"\n')
  equal(wrong.status, 2)
  match(wrong.stderr, /other\.toml:3: \[cachedb\] sokcet is not a key; did you mean socket\?/)
  const nowhere = attempt('[cachedb]\ndata_dir = "/tmp/x"\n')
  equal(nowhere.status, 2)
  match(nowhere.stderr, /needs socket, listen or tls_listen/)
  const busy = attempt(`[cachedb]\ndata_dir = "${cachedb.directory}/other"\nsocket = "${cachedb.socketPath}"\n`)
  equal(busy.status, 1)
  match(busy.stderr, /another server listens on/)
  const flag = spawnSync(process.execPath, [main, '--nonsense'], { encoding: 'utf8' })
  equal(flag.status, 2)
  equal(await (await cachedb.raw()).ask('PING'), '+PONG')
})

test('over TCP, with fsync = always', async t => {
  const cachedb = await CachedbProcess.start(t, { listen: '127.0.0.1:0', fsync: 'always' })
  const port = /"port":(\d+)/.exec(cachedb.process.stderr)![1]!
  await using client = await RespClient.connect({ address: `127.0.0.1:${port}` })
  equal(String(await client.call('SET', 'key', 'value')), 'key')
  await using over = await cachedb.client()
  const synced = String(await over.call('GET', 'key'))
  equal(synced, 'value')
})
