import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type RespClient, RespError } from '@qsfs/resp/client'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { CachedbProcess } from './cachedb-process.ts'

const lanes = 6
const lives = 2

/** A store of one directory: an object is a file named by its id. */
const script = (store: string) => `#!/bin/sh
set -eu
case $1 in
  jump-data)
    id=$(sha256sum < "$3" | cut -c1-32)
    cp "$3" ${store}/$id.part; mv ${store}/$id.part ${store}/$id
    echo "stored $id" ;;
  missing-data) cp ${store}/$QSFS_OBJECT_ID "$3" ;;
esac
`

/** What a lane knows of its keys: nobody else writes them. */
class Lane {
  readonly answered = new Map<string, string | null>()
  /** Of the key whose change was sent and not answered when the server died. */
  open: { readonly key: string; readonly value: string | null } | null = null
  readonly #prng: Prng
  readonly #mode: 'user' | 'seq'
  readonly #name: string

  constructor(name: string, mode: 'user' | 'seq', prng: Prng) {
    this.#name = name
    this.#mode = mode
    this.#prng = prng
  }

  /** Changes its keys until the server dies. */
  async work(client: RespClient): Promise<void> {
    const prng = this.#prng
    try {
      for (let number = 0; ; number++) {
        // An id that was deleted is not written again.
        const entries = [...this.answered].filter(([, value]) => this.#mode === 'user' || value !== null)
        const known = entries.map(([key]) => key)
        const isNew = known.length < 5 || prng.chance(0.3)
        const key = !isNew ? prng.pick(known) : this.#mode === 'user' ? `${this.#name} ${this.answered.size}` : ''
        const value = !isNew && prng.chance(0.3) ? null : `${this.#name} ${number} ${'x'.repeat(prng.below(20_000))}`
        this.open = { key, value }
        const keyBytes = Buffer.from(key, this.#mode === 'user' ? 'utf8' : 'hex')
        const args = value === null ? ['DEL', keyBytes] : ['SET', keyBytes, value]
        const reply = await client.call(...args).catch(refusal)
        if (reply instanceof RespError) {
          this.open = null
          if (reply.message === 'Key not found') this.answered.set(key, null)
          continue
        }
        const stored = this.#mode === 'seq' && key === '' ? (reply as Buffer).toString('hex') : key
        this.answered.set(stored, value)
        this.open = null
        if (prng.chance(0.02)) await client.call('FSYNC')
        if (prng.chance(0.005)) await client.call('NSJUMP')
      }
    } catch (error) {
      if ((error as Error).name !== 'ConnectionLost') throw error
    }
  }

  /** All that was answered is there, and nothing else; what was not may be. */
  async check(client: RespClient): Promise<void> {
    for (const [key, expected] of this.answered) {
      const reply = await client.call('GET', Buffer.from(key, this.#mode === 'user' ? 'utf8' : 'hex'))
      const found = reply === null ? null : String(reply)
      const isOpen = this.open?.key === key && found === this.open.value
      assert(found === expected || isOpen, `${key} is ${found?.slice(0, 20)}, not ${expected?.slice(0, 20)}`)
      this.answered.set(key, found)
    }
  }
}

/** Refusals that change nothing: a deleted key, and a cache that waits for the store. */
function refusal(error: Error): RespError {
  if (error instanceof RespError && /^(Key not found|FULL )/.test(error.message)) return error
  throw error
}

for (const mode of ['user', 'seq'] as const) {
  test(`${mode}: kill -9 at random moments, ${lives} times, with a store, eviction and compaction: nothing answered is lost`, async t => {
    const prng = seededPrng(t)
    const directory = await temporaryDirectory()
    t.after(() => directory[Symbol.asyncDispose]())
    const store = join(directory.path, 'store')
    mkdirSync(store)
    const hook = join(directory.path, 'hook.sh')
    writeFileSync(hook, script(store))
    chmodSync(hook, 0o755)
    const small = { segment_bytes: '512KiB', cache_bytes: '8MiB', value_cache_bytes: 0, compact_below: 0.9 }
    const cachedb = await CachedbProcess.start(t, { hook, ...small })
    {
      await using admin = await cachedb.client()
      await admin.call('NSSET', 'default', 'mode', mode)
    }
    const workers = Array.from({ length: lanes }, (_, number) => new Lane(`lane ${number}`, mode, prng))
    let answered = 0
    for (let life = 0; life < lives; life++) {
      const clients = await Promise.all(workers.map(() => cachedb.client()))
      const working = workers.map((lane, number) => lane.work(clients[number]!))
      const { pid } = cachedb.process
      const killing = setTimeout(() => process.kill(pid, 'SIGKILL'), 200 + prng.below(500))
      await Promise.all(working).finally(() => clearTimeout(killing))
      await cachedb.process.exited
      await cachedb.start()
      await using reopened = await cachedb.client()
      await Promise.all(workers.map(lane => lane.check(reopened)))
      answered = workers.reduce((sum, lane) => sum + lane.answered.size, 0)
    }
    t.diagnostic(`${answered} keys were checked`)
    assert(answered > lanes * 5)
  })
}
