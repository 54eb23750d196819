import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { blake2b } from 'hash-wasm'
import { cli, json, startDaemon } from './cli-fixture.ts'
import { directoryStore } from './store-fixture.ts'

describe('stor plan', () => {
  test('explains a config before it is used, and that of the daemon; refuses what cannot be kept', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const text = (await readFile(config, 'utf8')).replace('[[stor.groups]]', '[[stor.groups]]\nname = "eu-1"')
    await writeFile(config, text)
    const planned = await cli('plan', '-c', config)
    assert.strictEqual(planned.code, 0)
    assert.match(planned.stdout, /^survives any 2 backends, or any 1 group; group \S+ is the tightest$/m)
    assert.match(planned.stdout, /^capacity: about \d.* more$/m)
    assert.match(planned.stdout, /^group eu-1: 2 backends, up to 2 shards of an object, \d.* free$/m)
    assert.strictEqual(existsSync(`${path}/master`), false, 'it makes nothing')
    await startDaemon(stack, config)
    await rename(`${path}/data3`, `${path}/gone3`)
    const next = `${path}/next.toml`
    await writeFile(next, text.replace('expected_shards = 6', 'expected_shards = 5'))
    const refused = await cli('plan', '-c', next)
    assert.deepStrictEqual([refused.code, /can leave 3 shards, fewer than/.test(refused.stderr)], [2, true])
    await writeFile(next, text.replace('minimal_shards = 4', 'minimal_shards = 3'))
    const plan = await json('plan', '-c', next)
    assert.deepStrictEqual([plan.k, plan.capacityBytes, plan.unknownBackends], [3, null, ['data3']])
    assert.strictEqual((await json('plan', '--socket', `${path}/stor.sock`)).k, 4)
  })
})

describe('stor check --deep', () => {
  test('reads every shard and says what is there; check alone says that it does not', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack, { create_namespaces: false })
    const file = `${path}/f`
    await writeFile(file, randomBytes(2_500_000))
    assert.strictEqual((await cli('store', '-f', file, '-c', config)).code, 0)
    const whole = await cli('check', '-f', file, '-c', config, '--deep')
    assert.match(whole.stdout, /^(shard \d on data\d: good, 3 pieces\n){6}all good: 2 of its 6 shards may be lost\n$/)
    assert.strictEqual(whole.code, 0)

    const flip = async (backend: string) => {
      const names = await readdir(`${path}/${backend}`, { recursive: true, withFileTypes: true })
      const piece = names.filter(entry => entry.isFile()).map(entry => `${entry.parentPath}/${entry.name}`)
      const bytes = new Map(await Promise.all(piece.map(async at => [at, await readFile(at)] as const)))
      const [at, largest] = [...bytes].reduce((a, b) => (a[1].length >= b[1].length ? a : b))
      largest[largest.length >> 1]! ^= 1
      await writeFile(at, largest)
    }
    await flip('data2')
    await rename(`${path}/data5`, `${path}/away`)
    const hurt = await cli('check', '-f', file, '-c', config, '--deep')
    assert.strictEqual(hurt.code, 1)
    assert.match(hurt.stdout, /on data2: BAD: 2 pieces good, 1 wrong, 0 missing\n/)
    assert.match(hurt.stdout, /on data5: NOT READ/)
    assert.match(hurt.stdout, /\nreadable: 4 shards are good, 4 are needed, 0 more may be lost\n$/)
    const { deep } = await json('check', '-f', file, '-c', config, '--deep')
    assert.deepStrictEqual([deep.ok, deep.goodShardCount, deep.dataShards, deep.shards.length], [false, 4, 4, 6])

    await rename(`${path}/away`, `${path}/data5`)
    const hash = await blake2b(file, 128)
    const other = await cli('rebuild', '-k', `/other/meta/${hash}`, '-c', config)
    assert.deepStrictEqual([other.code, /belongs to another store/.test(other.stderr)], [1, true])
    const rebuilt = await cli('rebuild', '-k', `//meta/${hash}`, '-c', config)
    assert.match(rebuilt.stdout, /1 written\n$/)
    assert.strictEqual((await cli('check', '-f', file, '-c', config, '--deep')).code, 0)

    const checked = await cli('check', '-f', file, '-c', config)
    assert.match(checked.stdout, /^[0-9a-f]{32}\n$/)
    assert.match(checked.stderr, /shards were not verified by this, --deep does that/)
    const none = await cli('check', '-f', `${path}/none`, '-c', config, '--deep')
    assert.deepStrictEqual([none.code, none.stdout], [1, ''])
    assert.match(none.stderr, /entity not found/)
  })
})
